"""What the papers themselves say of their algorithms, worked out by hand or published there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import pytest
import torch

from adamantine import ADOPT, ASGD, AdaBelief, Adam, AdamW, Adan, AdEMAMix, Lion, Rprop
from adamantine.optim import RuleOptimizer
from oracles import CautiousAdam, CautiousAdamax, CautiousAdamW, CautiousNAdam, CautiousRAdam


def path(
    cls: type[RuleOptimizer], grads: Iterable[float], start: float = 1.0, **settings: Any
) -> tuple[list[float], dict[str, Any]]:
    """Where one float64 parameter goes on the given gradients, and its state in the end."""
    param = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = cls([param], **settings)
    places = []
    for grad in grads:
        param.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()
        places.append(param.item())
    return places, optimizer.state[param]


def test_lion_by_hand() -> None:
    """β1 = 1/2, β2 = 3/4, η = 1/8, λ = 1 on gradients 1, -1/8, -1, in fractions."""
    m, theta, expected = Fraction(0), Fraction(1), []
    # c = 1/2, then 1/8 - 1/16 = 1/16 (still up), then 1/2 (3/16 - 1/32) - 1/2 < 0.
    for grad, sign in ((Fraction(1), 1), (Fraction(-1, 8), 1), (Fraction(-1), -1)):
        c = (m + grad) / 2
        assert (c > 0) == (sign > 0)
        theta -= Fraction(1, 8) * (sign + theta)
        m = Fraction(3, 4) * m + grad / 4
        expected.append(theta)
    assert expected == [Fraction(3, 4), Fraction(17, 32), Fraction(151, 256)]
    places, state = path(Lion, [1.0, -0.125, -1.0], lr=0.125, betas=(0.5, 0.75), weight_decay=1.0)
    assert places == [float(place) for place in expected]
    assert state["exp_avg"].item() == float(m)


def test_adopt_by_hand() -> None:
    """β1 = 3/4, β2 = 8/9 on gradients 3, 3, 30: the second moment is a square each time.

    v = 9; n = 3/3 = 1, m = 1/4, v = 8/9·9 + 9/9 = 9; n = 30/3, clipped to 2^(1/2), m = 3/16 + n/4.
    """
    places, state = path(ADOPT, [3.0, 3.0, 30.0], lr=0.5, betas=(0.75, 8 / 9), clip_exp=0.5)
    first = 1 - 0.5 / 4
    assert places == pytest.approx(
        [1.0, first, first - 0.5 * (3 / 16 + math.sqrt(2) / 4)], rel=1e-14
    )
    assert state["exp_avg_sq"].item() == pytest.approx(8 + 100, rel=1e-14)


def test_adabelief_by_hand() -> None:
    """β1 = 1/2, β2 = 3/4, ε = 0 on gradients 4, 4.

    m = 2, s = (4-2)²/4 = 1, m̂ = 4, ŝ = 4: a step of 2α. m = 3, s = 3/4 + 1/4 = 1, m̂ = 4,
    ŝ = 16/7: a step of √7 α, longer than Adam's α, since the gradient was as expected.
    """
    places, state = path(AdaBelief, [4.0, 4.0], lr=0.25, betas=(0.5, 0.75), eps=0.0)
    assert places == pytest.approx([0.5, 0.5 - 0.25 * math.sqrt(7)], rel=1e-14)
    assert [state["exp_avg"].item(), state["exp_avg_var"].item()] == [3.0, 1.0]


def test_adabelief_keeps_every_epsilon() -> None:
    """Gradients that never change leave the geometric series of ε, to ε / (1 - β2)."""
    _, state = path(AdaBelief, [2.0] * 200, lr=0.0, betas=(0.0, 0.75), eps=2.0**-20)
    assert state["exp_avg_var"].item() == pytest.approx(2.0**-18, rel=1e-12)


@pytest.mark.parametrize("no_prox", [False, True])
def test_adan_by_hand(no_prox: bool) -> None:
    """Code's β = (1/2, 1/2, 3/4), ε = 0, α = λ = 1/2 on gradients 4, 8, in fractions.

    m = 2, v = 0, n = 4; m̂ = 4, n̂ = 16: u = 1.
    d = 4; m = 5, v = 2, n = 3 + (8 + 2)²/4 = 28; m̂ = 20/3, v̂ = 8/3, n̂ = 64: u = (20/3 + 4/3)/8 = 1.
    """
    half, theta = Fraction(1, 2), Fraction(1)
    expected = []
    for u in (1, 1):
        if no_prox:
            theta = (1 - half * half) * theta - half * u
        else:
            theta = (theta - half * u) / (1 + half * half)
        expected.append(theta)
    places, state = path(
        Adan, [4.0, 8.0], lr=0.5, betas=(0.5, 0.5, 0.75), eps=0.0, weight_decay=0.5, no_prox=no_prox
    )
    assert places == pytest.approx([float(place) for place in expected], rel=1e-14)
    names = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "neg_pre_grad")
    assert [state[name].item() for name in names] == [5.0, 2.0, 28.0, -8.0]


def test_adopt_converges_where_adam_does_not() -> None:
    """Taniguchi et al. 2024, section 5.1, after Reddi et al.: f is θ on average, on [-1, 1].

    It is k²θ with probability 1/k and -kθ else: the best point is -1. Adam with a small β2 forgets
    the rare large gradient and goes to 1; ADOPT goes to -1 with any β2, after the k⁴ steps in which
    a normalised gradient of k is clipped. Without momentum, and fifty runs at a time.
    """
    k, steps = 5, 8000
    rare = torch.rand(steps, 50, generator=torch.Generator().manual_seed(0)) < 1 / k
    grads = torch.where(rare, float(k * k), float(-k))

    def end(cls: type[RuleOptimizer], beta2: float) -> float:
        param = torch.nn.Parameter(torch.zeros(50))
        optimizer = cls([param], betas=(0.0, beta2), lr=0.002)
        for grad in grads:
            param.grad = grad
            optimizer.step()
            param.data.clamp_(-1, 1)
        return float(param.detach().mean())

    assert end(Adam, 0.1) > 0.9
    assert end(ADOPT, 0.1) < -0.9
    assert end(ADOPT, 0.999) < -0.9


@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_cautious_by_hand(cls: type[RuleOptimizer]) -> None:
    """Of four elements one turns around: it stays, and the others go 4/3 as far."""
    params = [torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2)]
    optimizers = [cls(params[:1], cautious=True, weight_decay=0), cls(params[1:], weight_decay=0)]
    for grad in ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -0.1]):
        before = [param.detach().clone() for param in params]
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = torch.tensor(grad, dtype=torch.float64)
            optimizer.step()
    cautious, plain = (param.detach() - old for param, old in zip(params, before, strict=True))
    assert cautious[3] == 0
    assert plain[3] < 0  # momentum would have gone on downwards, against the gradient
    torch.testing.assert_close(cautious[:3], plain[:3] * 4 / 3, rtol=1e-12, atol=0)


def test_cautious_counts_each_tensor_for_itself() -> None:
    """Kernel and reference, on tensors that share a group and differ in agreement."""
    generator = torch.Generator().manual_seed(0)
    sizes = (1, 7, 20_000, 0, 33_000)
    noise = [[torch.randn(n, generator=generator) for n in sizes] for _ in range(4)]
    ends = []
    for backend in ("cpu", "reference"):
        params = [torch.nn.Parameter(torch.zeros(n)) for n in sizes]
        optimizer = Adam(params, cautious=True, backend=backend)
        for step, grads in enumerate(noise):
            for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
                # Some sit steps out, so that step counts differ too.
                param.grad = None if (step + index) % 3 == 0 else grad + 0.3 * index
            optimizer.step()
        ends.append(params)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-7)


def test_cautious_bounds_the_scale_of_a_tensor_that_hardly_agrees() -> None:
    """One element of 10,000 agrees: it goes 1,000 times as far, not 10,000."""
    n = 10_000
    params = [torch.nn.Parameter(torch.zeros(n)) for _ in range(2)]
    optimizers = [Adam(params[:1], cautious=True), Adam(params[1:])]
    turned = torch.full((n,), -1e-3)
    turned[5] = 1.0
    for grad in (torch.ones(n), turned):
        before = [param.detach().clone() for param in params]
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = grad.clone()
            optimizer.step()
    cautious, plain = (param.detach() - old for param, old in zip(params, before, strict=True))
    assert int(cautious.count_nonzero()) == 1
    assert float(cautious[5] / plain[5]) == pytest.approx(1000, rel=1e-4)


TRANSCRIPTIONS = [
    (CautiousAdam, torch.optim.Adam, {"weight_decay": 0.1}),
    (CautiousAdam, torch.optim.Adam, {"amsgrad": True, "maximize": True}),
    (CautiousAdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
    (CautiousAdamax, torch.optim.Adamax, {"weight_decay": 0.1}),
    (CautiousNAdam, torch.optim.NAdam, {"weight_decay": 0.1}),
    (CautiousRAdam, torch.optim.RAdam, {"weight_decay": 0.1}),
]


@pytest.mark.parametrize(("box", "theirs", "settings"), TRANSCRIPTIONS)
def test_the_boxes_around_which_caution_is_written_are_torchs(
    box: Callable[..., Any], theirs: Callable[..., Any], settings: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.ones(50, dtype=torch.float64)) for _ in range(2)]
    optimizers = [box(params[:1], **settings), theirs(params[1:], **settings)]
    for _ in range(20):
        grad = torch.randn(50, generator=generator, dtype=torch.float64)
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(params[0], params[1], rtol=1e-7, atol=0)  # torch's product of μ


def test_rprop_by_hand() -> None:
    """η- = 1/2, η+ = 3/2 on gradients 1, 8, -1/4, -1, -1: up, longer, turned, still there, longer.

    Steps of 1/4, 3/8, none (η is 3/16), 3/16 (after a turn nothing agrees), 9/32.
    """
    places, state = path(Rprop, [1.0, 8.0, -0.25, -1.0, -1.0], lr=0.25, etas=(0.5, 1.5))
    assert places == [0.75, 0.375, 0.375, 0.5625, 0.84375]
    assert state["step_size"].item() == 9 / 32
    assert state["prev"].item() == -1.0


def test_rprop_keeps_step_sizes_within_bounds() -> None:
    _, state = path(Rprop, [1.0] * 20, step_sizes=(0.001, 0.125))
    assert state["step_size"].item() == 0.125
    _, state = path(Rprop, [1.0, -1.0, 0.0] * 20, step_sizes=(2.0**-10, 50))
    assert state["step_size"].item() == 2.0**-10


def test_rprop_compares_gradients_whose_product_vanishes() -> None:
    param = torch.nn.Parameter(torch.ones(1))
    optimizer = Rprop([param], lr=0.25, etas=(0.5, 1.5))
    for _ in range(2):
        param.grad = torch.full((1,), 1e-30)
        optimizer.step()
    assert param.item() == 1 - 0.25 - 0.375


def test_asgd_by_hand() -> None:
    """γ = 1/2, λ = 0, t0 = 1 on gradients 1: 1/2, 0, -1/2, -1, of which the last two are averaged.

    μ of step t is 1 / max(1, t - 2): 1 up to step 3, where the mean begins, then 1/2.
    """
    places, state = path(ASGD, [1.0] * 4, lr=0.5, lambd=0.0, t0=1)
    assert places == [0.5, 0.0, -0.5, -1.0]
    assert state["ax"].item() == -0.75


def test_asgd_shrinks_its_steps() -> None:
    """γ = 1/2, λ = 2, α = 1: η = 1/2, 1/2 / (1 + 1) = 1/4, then 1/2 / 3; θ decays by 1 - λη."""
    places, state = path(ASGD, [1.0] * 2, lr=0.5, lambd=2.0, alpha=1.0)
    assert places == [-0.5, -0.5 * 0.5 - 0.25]
    assert state["eta"].item() == pytest.approx(1 / 6)


# Gradients, and where the authors' code goes on them from 1.
ADEMAMIX_PATHS = {
    "slope": (
        [1.0 - 0.3 * t for t in range(8)],
        [0.889286, 0.780497, 0.676579, 0.583389, 0.512061, 0.471974, 0.465566, 0.487560],
    ),
    "turning": (
        [(-1.0) ** t * 0.5 + 0.1 * t for t in range(8)],
        [0.889286, 0.873654, 0.812704, 0.773491, 0.708061, 0.650389, 0.576410, 0.504855],
    ),
}


@pytest.mark.parametrize("name", ADEMAMIX_PATHS)
def test_ademamix_as_the_authors_code(name: str) -> None:
    """What ``pytorch/ademamix.py`` of apple/ml-ademamix, commit e732715, makes of these gradients.

    It adds 1e-8 to each β before its logarithm.
    """
    grads, expected = ADEMAMIX_PATHS[name]
    settings = {"betas": (0.9, 0.99, 0.999), "alpha": 5.0, "beta3_warmup": 6, "alpha_warmup": 4}
    places, _ = path(AdEMAMix, grads, lr=0.1, weight_decay=0.1, **settings)
    assert places == pytest.approx(expected, abs=1e-6)


def test_ademamix_warms_up_by_half_lives() -> None:
    """From 1 step to 4 in three steps: 2, 3, and from then on 4; α by thirds."""
    settings = dict(AdEMAMix([torch.zeros(1)], lr=1.0, alpha=3.0).param_groups[0])
    settings |= {"betas": (0.5, 0.9, 0.5**0.25), "beta3_warmup": 3, "alpha_warmup": 3}
    for step, half_life in ((1, 2), (2, 3), (3, 4), (4, 4)):
        scalars = AdEMAMix.family.scalars(settings, step)
        assert 1 - scalars["mix3"] == pytest.approx(0.5 ** (1 / half_life), rel=1e-14)
        assert scalars["slow_size"] == pytest.approx(min(step, 3))


def test_ademamix_without_a_slow_average_is_adamw() -> None:
    grads = [1.0, -2.0, 0.5]
    ours, _ = path(AdEMAMix, grads, alpha=0.0, weight_decay=0.1)
    adamw, _ = path(AdamW, grads, weight_decay=0.1)
    assert ours == adamw
