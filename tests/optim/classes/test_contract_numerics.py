"""The numbers of every row of ``cases.py``, against torch, float64, threads and closed forms."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import adamantine
from adamantine.optim.schedule_free import ScheduleFreeOptimizer
from cases import Case, rule_of
from contract import (
    assert_same_state,
    clones,
    every_case,
    every_case_in,
    every_descent,
    one_case_each,
    one_case_of_each_rule,
    parameters,
    train,
    worst_error,
)

SIZES = (0, 1, 15, 16, 17, 65_535, 65_536, 65_537)


@pytest.mark.parametrize(
    "steps", [20, *(pytest.param(more, marks=pytest.mark.slow) for more in (60, 300))]
)
@every_case
def test_as_close_to_float64_as_torch(case: Case, steps: int) -> None:
    noise = torch.randn(500_000, generator=torch.Generator().manual_seed(1))
    # Small sizes are judged together, so that the largest error is one of many, not of one.
    sizes = [size for size in SIZES for _ in range(16 // size if 0 < size < 16 else 1)]
    start = parameters(*sizes)
    ours, theirs, exact = clones(start), clones(start), clones(start, torch.float64)
    optimizers = [
        case.ours(ours, **case.settings),
        case.theirs(theirs, **case.settings, foreach=False),
        case.theirs(exact, **case.settings, foreach=True),
    ]
    for step in range(steps):
        for params, optimizer in zip((ours, theirs, exact), optimizers, strict=True):
            for index, param in enumerate(params):
                offset = 1009 * step + 17 * index
                param.grad = noise[offset : offset + param.numel()].to(param.dtype)
            optimizer.step()
    if case.jumps:
        for params in (ours, theirs):
            _leave_out_other_ways(params, exact, optimizers[0].param_groups[0]["lr"])
    for judged in ([1, 15, 16, 17], [65_535], [65_536], [65_537]):
        rows = [index for index, size in enumerate(sizes) if size in judged]
        our_error, their_error = (
            worst_error([params[i] for i in rows], [exact[i] for i in rows])
            for params in (ours, theirs)
        )
        assert our_error <= 1.5 * their_error, f"sizes {judged}"


def _leave_out_other_ways(
    params: list[torch.nn.Parameter], exact: list[torch.nn.Parameter], lr: float
) -> None:
    """Forget elements that once took a step of `lr` the other way; there may be very few."""
    total = 0
    for param, right in zip(params, exact, strict=True):
        other_way = (param - right).abs() > lr / 2
        param.data[other_way] = right.data[other_way].to(param.dtype)
        total += int(other_way.sum())
    # 300 steps with roundings of 2^-24 turn some signs of 10^5, whoever takes them.
    assert total <= 5e-5 * sum(p.numel() for p in params)


@every_case
def test_strided_view_and_empty_tensor(case: Case) -> None:
    base = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    results = []
    for cls in (case.ours, case.theirs):
        memory = base.clone()
        params = [torch.nn.Parameter(memory[::2, 1:5]), torch.nn.Parameter(torch.empty(0, 3))]
        optimizer = cls(params, **case.settings)
        train(optimizer, params, 20)
        results.append((params[0].detach().clone(), memory, optimizer))
    (ours, ours_memory, a), (theirs, theirs_memory, b) = results
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours_memory, theirs_memory)
    assert torch.equal(ours_memory[1::2], base[1::2])  # the rows in between are not ours
    assert_same_state(a, b)


@every_case
def test_nan_and_infinity_as_torch(case: Case) -> None:
    if case.settings.get("betas", (0.9,))[0] <= 0.5:
        pytest.skip("torch's lerp turns an infinite gradient into NaN at once for β1 <= 0.5")
    if case.ours is adamantine.Adafactor:
        pytest.skip("the same, in the first two steps; see test_adafactor.py")
    if issubclass(case.ours, ScheduleFreeOptimizer):
        pytest.skip("the paper's box has a third place; see test_schedule_free.py")
    bad = torch.tensor([math.nan, math.inf, -math.inf, 1.0, 0.0, 1e30, -1e-38, 2.0] * 4)
    start = parameters(32)
    ours, theirs = clones(start), clones(start)
    # Torch has two forms of ASGD's decay, of which ours is the one with the smaller error.
    foreach = {"foreach": True} if case.ours is adamantine.ASGD else {}
    optimizers = [
        case.ours(ours, **case.settings),
        case.theirs(theirs, **case.settings, **foreach),
    ]
    for step in range(4):
        grad = bad.roll(step) if step < 2 else torch.ones(32)
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            params[0].grad = grad.clone()
            optimizer.step()
        torch.testing.assert_close(ours, theirs, equal_nan=True)
        a, b = (o.state_dict()["state"] for o in optimizers)
        for name in a.get(0, {}):
            torch.testing.assert_close(a[0][name], b[0][name], equal_nan=True)


@every_case_in(
    {torch.float64: None, torch.bfloat16: 5e-2, torch.float16: 1e-2, torch.complex64: 1e-4}
)
def test_other_dtypes_as_torch(case: Case, dtype: torch.dtype, rtol: float | None) -> None:
    if dtype.is_complex and not case.ours.family.takes_complex:
        pytest.skip("torch's class takes no complex parameters either")
    rtol = rtol or case.float64_rtol
    if dtype == torch.float16 and case.ours is adamantine.Prodigy:
        pytest.skip("in float16, the square of its first d is 0, as in the authors' package")
    start = parameters(33, (3, 4), dtype=dtype)
    ours, theirs = clones(start), clones(start)
    a, b = case.ours(ours, **case.settings), case.theirs(theirs, **case.settings, foreach=False)
    train(a, ours, 10)
    train(b, theirs, 10)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)


@every_case_in(
    {
        torch.float32: 2e-5,
        torch.float64: 1e-12,
        torch.bfloat16: 2e-2,  # two results on either side of a tie are a step apart
        torch.float16: 2e-3,
    }
)
def test_all_backends_agree(case: Case, dtype: torch.dtype, rtol: float) -> None:
    start = parameters(1000, (7, 9), (), dtype=dtype)
    reference = clones(start)
    train(case.ours(reference, **case.settings, backend="reference"), reference, 30)
    for backend in (case.by_kernels, "lists"):
        params = clones(start)
        train(case.ours(params, **case.settings, backend=backend), params, 30)
        torch.testing.assert_close(params, reference, rtol=rtol, atol=rtol / 10)


@one_case_of_each_rule
def test_same_bits_for_any_number_of_threads(case: Case) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            params = parameters(1_200_001, 70_000, 13)
            train(case.ours(params, **case.settings), params, 3)
            results.append(params)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(p, q) for p, q in zip(results[0], other, strict=True))


@one_case_each
def test_two_python_threads_step_two_optimizers(case: Case) -> None:
    def run(seed: int) -> list[torch.nn.Parameter]:
        params = parameters(700_000, 13, seed=seed)
        train(case.ours(params, **case.settings), params, 4)
        return params

    alone = [run(0), run(1)]
    with ThreadPoolExecutor(2) as executor:
        together = list(executor.map(run, (0, 1)))
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@every_descent
def test_finds_the_bottom_of_a_parabola(case: Case) -> None:
    settings = case.descending()
    settings.setdefault("lr", case.parabola_lr)
    target = torch.tensor([1.0, -2.0, 0.5])
    param = torch.nn.Parameter(torch.zeros(3))
    optimizer = case.ours([param], **settings)
    for _ in range(1500):
        param.grad = param.detach() - target
        optimizer.step()
    assert float((param - target).detach().abs().max()) < 2e-2


@one_case_each
def test_descends_rosenbrock_as_torch_does(case: Case) -> None:
    settings = {**case.descending(), "lr": case.rosenbrock_lr}
    if "momentum" in settings and not issubclass(case.ours, ScheduleFreeOptimizer):
        settings["lr"] /= 10  # it adds up
    paths = []
    for cls, steps in ((case.ours, 3000), (case.theirs, 100)):
        param = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        optimizer = cls([param], **settings)
        path = []
        for _ in range(steps):
            x, y = param.tolist()  # of (1 - x)² + 100 (y - x²)², by hand: autograd takes longer
            slope = [2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)]
            param.grad = torch.tensor(slope, dtype=torch.float64)
            optimizer.step()
            path.append(param.detach().clone())
        paths.append(torch.stack(path))
    # Later on, some of the settings jump about the valley, and rounding decides where to.
    torch.testing.assert_close(paths[0][:100], paths[1], rtol=1e-6, atol=1e-6)
    assert float((paths[0][-1] - 1).abs().max()) < 0.7  # the optimum is (1, 1), the start 2.2 off


@every_case
def test_complex_parameters_have_the_bits_of_pairs(case: Case) -> None:
    """Whatever their gradients' strides, and conjugated lazily or not."""
    if not case.ours.family.takes_complex:
        pytest.skip("torch's class takes no complex parameters either")
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 4, dtype=torch.complex64, generator=generator)
    whole = torch.nn.Parameter(start.clone())
    turned = torch.nn.Parameter(start.t().contiguous().t())
    pair = torch.nn.Parameter(torch.view_as_real(start).clone())
    optimizers = [case.ours([p], **case.settings) for p in (whole, turned, pair)]
    for step in range(4):
        grad = torch.randn(5, 4, dtype=torch.complex64, generator=generator)
        whole.grad = grad if step % 2 else grad.conj().resolve_conj().conj()
        turned.grad, pair.grad = grad, torch.view_as_real(grad)
        for optimizer in optimizers:
            optimizer.step()
            assert optimizer._plan is not None
            assert optimizer._plan._tables
    expected = {"param": pair.detach(), **optimizers[2].state[pair]}
    for param, optimizer in zip((whole, turned), optimizers, strict=False):
        for name, value in {"param": param.detach(), **optimizer.state[param]}.items():
            bits = torch.view_as_real(value) if value.is_complex() else value
            assert torch.equal(bits, expected[name])


def test_lazily_conjugated_parameters_and_states_are_what_they_say() -> None:
    start = torch.randn(4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    results = []
    for lazy in (False, True):
        param = start.clone().requires_grad_()
        optimizer = adamantine.Adam([param], lr=0.1)
        for step in range(4):
            param.grad = torch.full_like(start, complex(1, step))
            optimizer.step()
            if lazy and step == 0:
                param.data = param.detach().conj().resolve_conj().conj()
            if lazy and step == 1:
                state = optimizer.state[param]
                state["exp_avg"] = state["exp_avg"].conj().resolve_conj().conj()
        results.append(param.detach().resolve_conj())
    torch.testing.assert_close(*results)


@every_case
def test_differentiable_has_the_slopes_of_finite_differences(case: Case) -> None:
    """By the parameter, the gradient, the learning rate, and every state that enters the update."""
    if rule_of(case).shared_sums is not None:
        pytest.skip("what sums over all parameters decide would be a constant; it is refused")
    if not case.takes("differentiable"):
        pytest.skip("torch's class has no such switch either")
    warm = parameters(3, dtype=torch.float64)
    earlier = case.ours(warm, **case.settings, backend="reference")
    train(earlier, warm, 7)
    entry = earlier.state[warm[0]]
    names = [name for name in entry if name != "step"]

    def end(start: Tensor, lr: Tensor, grad: Tensor, *states: Tensor) -> list[Tensor]:
        param = start.clone()
        param.retain_grad()
        optimizer = case.ours([param], **{**case.settings, "lr": lr}, differentiable=True)
        state = optimizer.state[param]
        state.update(zip(names, (s.clone() for s in states), strict=True))
        if "step" in entry:
            state["step"] = entry["step"].clone()
        for step in range(3):
            param.grad = grad * (1.5 * step - 1)
            optimizer.step()
        return [param, *(state[name] for name in names)]

    # A state of zero may be where a rule bends.
    states = [torch.where(entry[name] == 0, 0.25, entry[name]).tolist() for name in names]
    given = [[-1.0, 0.3, 2.0], 0.05, [0.7, -0.2, 1.1], *states]
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in given]
    assert torch.autograd.gradcheck(end, inputs, eps=1e-7, atol=1e-5, rtol=1e-2)
