"""Missed steps in closed form, against doing them one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_rules import ADAM_SETTINGS, functions_of

from adamantine.backends import reference
from adamantine.rules import adagrad, adam, sgd
from adamantine.rules.catch_up import adam as adam_catch_up
from adamantine.rules.catch_up.by_rule import catch_up_of
from adamantine.rules.catch_up.catch_up import STEPPED

PAGE = Path(__file__).parents[2] / "docs" / "sparse.md"
EPS = 1e-8
RATIOS = 10.0 ** torch.arange(-3, 6.01, 0.25, dtype=torch.float64)  # corrected root of v to ε
STARTS = torch.tensor([1, 2, 3, 5, 10, 30, 100, 300, 1000, 10_000], dtype=torch.float64)[:, None]
SCHEDULES: dict[str, Callable] = {
    "constant": lambda i: 0 * i + 1e-3,
    "warm-up": lambda i: 1e-3 * (i / 500).clamp(max=1),
    "cosine with restarts": lambda i: 5e-4 * (1 + torch.cos(i % 100 * math.pi / 100)),
}
BETAS = [(0.9, 0.999), (0.9, 0.99), (0.9, 0.95), (0.95, 0.999), (0.9, 0.9), (0.0, 0.99)]
RULES = [adam.ADAM, adam.AMSGRAD, sgd.SGD, sgd.MOMENTUM_SGD, adagrad.ADAGRAD]


def quadrature_errors(
    betas: tuple[float, float], schedule: Callable, decay: float, amsgrad: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Relative error of a row's displacement, and whether it is said to be covered.

    By (gap, start, ratio); the exact displacement is summed up in float64, step by step.
    """
    beta1, beta2 = betas
    catch_up = catch_up_of(adam.AMSGRAD if amsgrad else adam.ADAM)
    functions = (catch_up.advance, catch_up.coefficients, adam_catch_up.covered)
    advance, coefficients, covered = map(reference.bound, functions)
    second = (RATIOS * EPS) ** 2 * (1 - beta2**STARTS)
    sums = [torch.full_like(STARTS, value) for value in catch_up.start]
    moved = torch.zeros_like(second)
    errors, covers = [], []
    for gap in range(1, 601):
        step = STARTS + gap
        lr = schedule(step)
        scalars = {
            "l2": 0.0,
            "mix1": 1 - beta1,
            "decay2": beta2,
            "decay": lr * decay,
            "step_size": lr / (1 - beta1**step),
            "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        }
        sums = advance(*sums, *(scalars[name] for name in catch_up.scalars))
        faded = second if amsgrad else second * beta2**gap
        update = beta1**gap / (faded.sqrt() * scalars["inv_sqrt_bias2"] + EPS)
        moved = moved - (scalars["decay"] * moved + scalars["step_size"] * update)
        if gap in (1, 2, 3, 5, 10, 30, 100, 300, 600):
            sure, _, _, _, _, scale, near, far, bend, blur, floor = coefficients(*sums, EPS)
            root = second.sqrt()
            approximate = -scale / (root + far + bend / (root + near))
            error = (approximate / moved - 1).abs()
            errors.append(torch.where(moved == 0, approximate.abs(), error))
            unit = torch.ones(())
            covers.append((sure != 0) | covered(unit, second, blur, floor))
    return torch.stack(errors), torch.stack(covers)


@pytest.mark.parametrize("betas", BETAS, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("decay", "amsgrad"), [(0.0, False), (1.0, False), (0.01, True)])
def test_covered_elements_are_within_the_tolerance(
    betas: tuple[float, float], schedule: str, decay: float, amsgrad: bool
) -> None:
    errors, covers = quadrature_errors(betas, SCHEDULES[schedule], decay, amsgrad)
    assert float(errors[covers].max()) <= adam_catch_up.TOLERANCE
    if betas[0] < betas[1] ** 1.5:
        # Far above ε the closed form always holds, from the first step on.
        assert covers[..., RATIOS > 5e4].all()
    if betas == (0.9, 0.999):
        assert covers[:, STARTS[:, 0] >= 300].all()


TABLE = [
    ((0.9, 0.999), "constant"),
    ((0.9, 0.999), "warm-up"),
    ((0.9, 0.999), "cosine with restarts"),
    ((0.9, 0.99), "constant"),
    ((0.95, 0.999), "constant"),
    ((0.9, 0.95), "constant"),
    ((0.9, 0.9), "constant"),
]


@pytest.mark.parametrize(("betas", "schedule"), TABLE)
def test_the_page_says_these_errors(betas: tuple[float, float], schedule: str) -> None:
    kinds = [(0.0, False), (1.0, False), (0.01, True)]
    found = [quadrature_errors(betas, SCHEDULES[schedule], *kind) for kind in kinds]
    worst = max(float(errors.max()) for errors, _ in found)
    accepted = max(float(errors[covers].max()) for errors, covers in found)
    stepped = torch.stack([~covers for _, covers in found]).flatten(0, 1).any(0)
    name = schedule.replace("constant", "constant rate")
    cells = [f"({betas[0]}, {betas[1]}), {name}"]
    cells += [f"{error:.1e}".replace("e-0", "e-") for error in (worst, accepted)]
    for start in (1, 30):
        largest = float(RATIOS[stepped[STARTS[:, 0] >= start].any(0)].max())
        cells.append(f"√v̂ up to {float(f'{largest:.2g}'):,.0f} ε")
    if betas == (0.9, 0.9):
        cells[-2:] = ["nearly all"] * 2
    assert f"| {' | '.join(cells)} |" in PAGE.read_text(encoding="utf-8")


def test_the_bound_is_not_idle() -> None:
    """Early, and where √v is about ε, two nodes are too few; the rule says so itself."""
    errors, covers = quadrature_errors((0.9, 0.999), SCHEDULES["constant"], 0.0, False)
    assert float(errors.max()) > 1e-3
    assert not covers.all()


@pytest.mark.parametrize("second", [0.0, 4e-9, 1.0])
@pytest.mark.parametrize("eps", [1e-3, 1e-8])
def test_both_ends_are_exact_on_plain_floats(second: float, eps: float) -> None:
    settings = {
        **ADAM_SETTINGS,
        "lr": 0.1,
        "eps": eps,
        "weight_decay": 0.1,
        "decoupled_weight_decay": True,
    }
    catch_up, theta, m, v = catch_up_of(adam.ADAM), 1.0, 0.5, second
    sums = catch_up.start
    for step in range(2, 40):
        scalars = adam.scalars(settings, step)
        theta, m, v = adam.adam(theta, 0.0, m, v, *(scalars[n] for n in adam.ADAM.scalars))
        sums = catch_up.advance(*sums, *(scalars[name] for name in catch_up.scalars))
    caught_up = catch_up.apply(1.0, 0.5, second, *catch_up.coefficients(*sums, eps)[1:])
    tolerance = 1e-12 if second == 0 else 2e-3 if second == 4e-9 else 1e-6
    assert caught_up[0] - 1 == pytest.approx(theta - 1, rel=tolerance)
    assert caught_up[1:] == pytest.approx((m, v), rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_momentum_is_a_matrix(nesterov: bool, l2: float) -> None:
    settings = {"momentum": 0.9, "nesterov": nesterov, "maximize": True, "weight_decay": l2}
    catch_up, theta, buffer = catch_up_of(sgd.MOMENTUM_SGD), 1.5, -0.7
    sums = catch_up.start
    for step in range(2, 60):
        scalars = sgd.scalars({**settings, "dampening": 0.1, "lr": 0.1 / step}, step)
        values = [scalars[name] for name in sgd.MOMENTUM_SGD.scalars]
        theta, buffer = sgd.momentum_sgd(theta, 0.0, buffer, *values)
        sums = catch_up.advance(*sums, *(scalars[name] for name in catch_up.scalars))
    caught_up = catch_up.apply(1.5, -0.7, *catch_up.coefficients(*sums)[1:])
    assert caught_up == pytest.approx((theta, buffer), rel=1e-12)


def test_steps_without_closed_form_cover_nothing() -> None:
    settings = {**ADAM_SETTINGS, "eps": 1e-8, "weight_decay": 0.1}
    catch_up = catch_up_of(adam.ADAM)
    scalars = adam.scalars(settings, 500)
    sums = catch_up.advance(*catch_up.start, *(scalars[name] for name in catch_up.scalars))
    sure, *values = catch_up.coefficients(*sums, 1e-8)
    assert sure == 0
    assert not catch_up.covers(1.0, 0.0, 1.0, *values)
    assert catch_up_of(adam.ADAM) is not STEPPED
    assert STEPPED.coefficients(*STEPPED.start) == (0.0,)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_runs_for_each_element_holds_no_literals(rule) -> None:
    """A literal would turn compiled float32 arithmetic into float64."""
    for outer in (catch_up_of(rule).apply, catch_up_of(rule).covers):
        for function in functions_of(outer):
            numbers = [c for c in function.__code__.co_consts if type(c) in (int, float)]
            assert numbers == []
