"""``stats()`` of rows of ``cases.py`` against brute force in float64, on all backends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_contract_step_options import (
    assert_same,
    assert_same_bits_of_state,
    feed,
    gradients,
    groups_of,
)
from torch import Tensor

from cases import CASES, Case
from contract import clones, every_case, parameters

SHAPES = 20_000, (7, 9), (), 33
EXACT = slice(1, None)  # parameters of at most 64 elements: every one of them is looked at
MAX_NORM = 2.0
QUANTILES = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)

# Every kernel that collects is compiled once more: those whose states or counters are others.
NAMES = "Adam-default", "Adam-cautious", "SGD-default", "SGD-momentum", "Lion-decay", "NAdam-l2"
ROWS = [case for case in CASES if case.name in NAMES]
some_cases = pytest.mark.parametrize("case", ROWS, ids=str)


def norm(values: Tensor) -> float:
    return math.sqrt(math.fsum(x * x for x in values.double().flatten().tolist()))


def check(stats: list[Any], before: list[Tensor], after: list[Tensor], grads: list[Tensor]) -> None:
    clipped = min(1.0, MAX_NORM / (math.hypot(*map(norm, grads)) + 1e-6))
    assert len(stats) == len(before)
    for told, old, new, grad in zip(stats, before, after, grads, strict=True):
        update = new.double() - old.double()
        # float32 adds up to 16,384 squares, which may be alike and all be rounded the same way.
        assert told.grad_norm == pytest.approx(norm(grad), rel=1e-4)
        assert told.update_norm == pytest.approx(norm(update), rel=1e-4)
        assert told.param_norm == pytest.approx(norm(new), rel=1e-4)
        assert told.update_ratio == pytest.approx(norm(update) / norm(new), rel=1e-4)
        assert told.nonfinite == 0
        assert told.clipped == pytest.approx(clipped, rel=1e-6)
        rates = (update.abs() / (clipped * grad.double().abs())).flatten()
        assert list(told.learning_rates) == sorted(told.learning_rates)
        assert told.learning_rates[0] >= rates.min() * (1 - 1e-5)
        assert told.learning_rates[-1] <= rates.max() * (1 + 1e-5)
    for told, old, new, grad in list(zip(stats, before, after, grads, strict=True))[EXACT]:
        rates = (new.double() - old.double()).abs() / (clipped * grad.double().abs())
        expected = torch.quantile(rates.flatten(), QUANTILES).tolist()
        assert list(told.learning_rates) == pytest.approx(expected, rel=1e-5)


def run(case: Case, params: list[Any], steps: int = 3, **options: Any) -> Any:
    """Steps that are measured, each checked by brute force."""
    optimizer = case.ours(
        groups_of(case, params),
        **case.settings,
        max_grad_norm=MAX_NORM,
        collect_stats=True,
        **options,
    )
    for grads in gradients(params, steps):
        before = [p.detach().clone() for p in params]
        feed(optimizer, params, grads)
        check(optimizer.stats(), before, [p.detach() for p in params], grads)
    return optimizer


@every_case
def test_by_brute_force_with_torch(case: Case) -> None:
    for backend in ("lists", "reference"):
        run(case, parameters(*SHAPES), backend=backend)


@some_cases
def test_by_brute_force_in_kernels_and_nothing_else_changes(case: Case) -> None:
    """One run by the kernels that collect, one by those that do not: the same bits."""
    start = parameters(*SHAPES)
    measured, plain = clones(start), clones(start)
    a = run(case, measured)
    b = case.ours(groups_of(case, plain), **case.settings, max_grad_norm=MAX_NORM)
    for grads in gradients(start, 3):
        feed(b, plain, grads)
    assert_same(measured, plain)
    assert_same_bits_of_state(a, b)
