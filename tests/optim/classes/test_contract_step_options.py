"""What surrounds the step of every row of ``cases.py``: clipped, left out, unscaled, zeroed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import adamantine
from cases import Case
from contract import (
    Optimizer,
    assert_same_state,
    clones,
    every_case,
    first_case,
    one_case_of_each_number_of_states,
    parameters,
)

SHAPES = 1000, (7, 9), (), 33
MAX_NORM = 2.0
SIZES = 1e-3, 10.0, 1.0, 0.05
"""Of the gradients, step by step: a rule that forgets the norm by itself does not forget these."""

every_backend = pytest.mark.parametrize("backend", ["auto", "lists", "reference"])


def gradients(params: list[torch.nn.Parameter], steps: int = 8) -> Iterator[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        drawn = [torch.randn(p.shape, generator=generator) for p in params]
        yield [
            (SIZES[step % len(SIZES)] * g).to(p.dtype) for g, p in zip(drawn, params, strict=True)
        ]


def groups_of(case: Case, params: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
    """Three groups with settings of their own."""
    return [
        {"params": params[:1], "lr": case.other_lr},
        {"params": params[1:3], "weight_decay": 0.3},
        {"params": params[3:]},
    ]


def feed(optimizer: Optimizer, params: list[torch.nn.Parameter], grads: list[Tensor]) -> None:
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    optimizer.step()


def norm_of(grads: list[Tensor]) -> float:
    return math.sqrt(math.fsum(abs(x) ** 2 for g in grads for x in g.flatten().tolist()))


def assert_same(ours: list[Any], others: list[Any]) -> None:
    assert all(torch.equal(p, q) for p, q in zip(ours, others, strict=True))


def assert_same_bits_of_state(a: Optimizer, b: Optimizer) -> None:
    ours, others = a.state_dict(), b.state_dict()
    assert ours["param_groups"] == others["param_groups"]
    assert ours["state"].keys() == others["state"].keys()
    for index, state in ours["state"].items():
        assert state.keys() == others["state"][index].keys()
        assert_same(list(state.values()), list(others["state"][index].values()))


@every_case
@every_backend
def test_clips_as_clip_grad_norm(case: Case, backend: str) -> None:
    start = parameters(*SHAPES)
    ours, theirs, unclipped = clones(start), clones(start), clones(start)
    a = case.ours(groups_of(case, ours), **case.settings, backend=backend, max_grad_norm=MAX_NORM)
    b = case.theirs(groups_of(case, theirs), **case.settings)
    c = case.ours(groups_of(case, unclipped), **case.settings, backend=backend)
    for grads in gradients(start):
        feed(a, ours, grads)
        assert_same([p.grad for p in ours], grads)  # they are only read
        assert a.grad_norm == pytest.approx(norm_of(grads), rel=1e-6)
        feed(c, unclipped, grads)
        for param, grad in zip(theirs, grads, strict=True):
            param.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(theirs, MAX_NORM)
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert_same_state(a, b)
    if case.ours is not adamantine.Rprop:  # which looks at signs alone
        assert not all(map(torch.equal, ours, unclipped))


@first_case
def test_clips_dtypes_together(case: Case) -> None:
    """The reference is the same optimizer, given what is left of the gradients in float64."""
    dtypes = torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64
    if not case.ours.family.takes_complex:
        dtypes = dtypes[:-1]
    start = [clones(parameters(50, seed=i), dtype)[0] for i, dtype in enumerate(dtypes)]
    ours, clipped = clones(start), clones(start)
    a = case.ours(ours, **case.settings, max_grad_norm=MAX_NORM)
    b = case.ours(clipped, **case.settings)
    for grads in gradients(start):
        feed(a, ours, grads)
        norm = norm_of(grads)
        assert a.grad_norm == pytest.approx(norm, rel=1e-12)
        feed(b, clipped, [g * min(1.0, MAX_NORM / (norm + 1e-6)) for g in grads])
    # Their gradients are rounded to 16 bits once more, and Prodigy estimates from all.
    for mine, other in zip(ours, clipped, strict=True):
        rtol = 3e-2 if mine.itemsize == 2 or case.ours is adamantine.Prodigy else 1e-5
        torch.testing.assert_close(mine, other, rtol=rtol, atol=rtol)


@every_case
@every_backend
def test_a_step_left_out_never_was(case: Case, backend: str) -> None:
    start = parameters(*SHAPES)
    ours, spared = clones(start), clones(start)
    a = case.ours(groups_of(case, ours), **case.settings, backend=backend, skip_nonfinite=True)
    b = case.ours(groups_of(case, spared), **case.settings, backend=backend)
    good = list(gradients(start, 6))
    bad = {0: math.nan, 3: math.inf, 4: -math.inf}
    for step, grads in enumerate(good):
        if step in bad:
            broken = [g.clone() for g in grads]
            broken[step % 4].view(-1)[-1] = bad[step]
            feed(a, ours, broken)
            assert not math.isfinite(a.grad_norm)
            assert_same(ours, spared)
            assert_same_bits_of_state(a, b)  # none either, where there was none yet
        feed(a, ours, grads)
        feed(b, spared, grads)
    assert a.skipped_steps == 3
    assert_same(ours, spared)
    assert_same_bits_of_state(a, b)


@every_case
def test_without_skipping_a_norm_that_is_not_finite_acts_as_torchs(case: Case) -> None:
    if case.settings.get("betas", (0.9,))[0] <= 0.5:
        pytest.skip("torch's lerp turns an infinite gradient into NaN at once for β1 <= 0.5")
    for bad in (math.nan, math.inf):
        start = parameters(20, 5)
        ours, theirs = clones(start), clones(start)
        a = case.ours(ours, **case.settings, max_grad_norm=MAX_NORM)
        b = case.theirs(theirs, **case.settings)
        grads = [torch.ones(20), torch.ones(5)]
        grads[0][3] = bad
        feed(a, ours, grads)
        for param, grad in zip(theirs, grads, strict=True):
            param.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(theirs, MAX_NORM)
        b.step()
        torch.testing.assert_close(ours, theirs, equal_nan=True)
        assert a.skipped_steps == 0


@every_case
@every_backend
def test_unscales(case: Case, backend: str) -> None:
    """A scale that is a power of two is taken out of the gradients without a trace."""
    start = parameters(*SHAPES)
    ours, plain = clones(start), clones(start)
    a = case.ours(ours, **case.settings, backend=backend, max_grad_norm=MAX_NORM)
    b = case.ours(plain, **case.settings, backend=backend, max_grad_norm=MAX_NORM)
    for grads in gradients(start):
        a.grad_scale, a.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
        feed(a, ours, [1024 * g for g in grads])
        del a.grad_scale, a.found_inf
        feed(b, plain, grads)
        assert a.grad_norm == b.grad_norm
    assert_same(ours, plain)
    a.grad_scale, a.found_inf = torch.tensor(1024.0), torch.tensor(1.0)
    feed(a, ours, grads)
    assert_same(ours, plain)
    assert_same_bits_of_state(a, b)
    assert a.skipped_steps == 1


@one_case_of_each_number_of_states
@every_backend
def test_zeroes(case: Case, backend: str) -> None:
    start = parameters(*SHAPES)
    if case.ours.family.takes_complex:
        start += parameters(9, dtype=torch.complex64)
    variants = {}
    for zero_grad in (False, True, "zeros"):
        params = variants[zero_grad] = clones(start)
        optimizer = case.ours(params, **case.settings, backend=backend, zero_grad=zero_grad)
        for grads in gradients(start, 3):
            feed(optimizer, params, grads)
            left = [p.grad for p in params]
            if zero_grad == "zeros":
                assert_same(left, [torch.zeros_like(p) for p in params])
            elif zero_grad:
                assert left == [None] * len(params)
            else:
                assert_same(left, grads)
    assert_same(variants[True], variants[False])
    assert_same(variants["zeros"], variants[False])


@one_case_of_each_number_of_states
def test_same_bits_of_everything_for_any_number_of_threads(case: Case) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters(600_001, 13)
            optimizer = case.ours(params, **case.settings, max_grad_norm=1.0, zero_grad="zeros")
            for grads in gradients(params, 2):
                feed(optimizer, params, grads)
            assert not any(p.grad.any() for p in params)
            results.append((optimizer.grad_norm, params))
    finally:
        torch.set_num_threads(before)
    assert results[0][0] == results[1][0]
    assert_same(results[0][1], results[1][1])
