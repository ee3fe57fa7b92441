"""Every optimizer through the table of ``backends/gpu``, against the reference.

Tensors lie in main memory here, as Triton's interpreter has it; all else is as on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from device import parameters
from torch import nn

import adamantine
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.optim import RuleOptimizer
from cases import CASES, Case, rule_of
from contract import clones, each_row, first_case, one_case_each

SIZES = (0, 1, TILE - 1, TILE, TILE + 1, (3, 4), ())
FEW = (1, 15, TILE + 1)
COUNTED_THERE = {"skip_nonfinite": True}
"""An option that lets the device count steps, where it has a word in whether they are done."""

Grads = Callable[[int, list[nn.Parameter]], None]


def random_grads(step: int, params: list[nn.Parameter]) -> None:
    """The same for all dtypes and calls; in step 2, one parameter has none."""
    generator = torch.Generator().manual_seed(step)
    for index, param in enumerate(params):
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        param.grad = None if (step, index) == (2, 1) else grad.to(param)


def pair_of(
    case: Case, start: list[nn.Parameter], **options: Any
) -> list[tuple[RuleOptimizer, list[nn.Parameter]]]:
    """The optimizer on both backends, each with parameters of its own."""
    found = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        found.append((case.ours(params, **case.settings, backend=backend, **options), params))
    return found


def run(
    pair: list[tuple[RuleOptimizer, list[nn.Parameter]]],
    steps: int = 5,
    grads: Grads = random_grads,
    after: Callable[[RuleOptimizer, RuleOptimizer], None] = lambda *_: None,
) -> None:
    for step in range(steps):
        for optimizer, params in pair:
            grads(step, params)
            optimizer.step()
        after(*(optimizer for optimizer, _ in pair))


def assert_alike(pair: list[tuple[RuleOptimizer, list[nn.Parameter]]], rtol: float = 2e-5) -> None:
    """Parameters and all states."""
    (ours, ours_params), (theirs, theirs_params) = pair
    torch.testing.assert_close(ours_params, theirs_params, rtol=rtol, atol=rtol / 10)
    a, b = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert a.keys() == b.keys()
    for index in a:
        assert a[index].keys() == b[index].keys()
        for name in a[index]:
            torch.testing.assert_close(
                a[index][name], b[index][name], rtol=10 * rtol, atol=rtol, msg=name
            )


TOLERANCES = {
    torch.float32: 2e-5,
    torch.float64: 1e-12,
    torch.bfloat16: 2e-2,  # two results on either side of a tie are a step apart
    torch.float16: 2e-3,
    torch.complex64: 2e-5,
}
in_every_dtype = each_row(
    "case, dtype, rtol",
    [(case, dtype, rtol) for dtype, rtol in TOLERANCES.items() for case in CASES],
    # The others are slow: of every optimizer one row is not, and one of each dtype.
    lambda case, dtype, _: case.ours if dtype == torch.float32 else dtype,
)


@in_every_dtype
def test_as_the_reference(case: Case, dtype: torch.dtype, rtol: float) -> None:
    if dtype.is_complex and not case.ours.family.takes_complex:
        pytest.skip("torch's class takes no complex parameters either")
    pair = pair_of(case, parameters(*SIZES, dtype=dtype))
    run(pair)
    assert_alike(pair, rtol)


@one_case_each
def test_the_device_counts_steps(case: Case) -> None:
    """The same bits as where the host does, but for the order of float64 scalars."""
    if rule_of(case).shared_sums is not None:
        pytest.skip("the host decides, and so counts")
    pair = pair_of(case, parameters(*FEW), **COUNTED_THERE)
    run(pair)
    assert_alike(pair)
    assert pair[0][0]._plan._tables[0].counts_on_device


OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {"max_grad_norm": 1.0},
    "clip and skip": {"max_grad_norm": 0.5, "skip_nonfinite": True},
    "stats": {"collect_stats": True},
    "stats and skip": {"collect_stats": 2, "skip_nonfinite": 3},
    "zeros": {"zero_grad": "zeros"},
    "zeros and skip": {"zero_grad": "zeros", "skip_nonfinite": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@first_case
def test_step_options(case: Case, options: dict[str, Any]) -> None:
    def grads(step: int, params: list[nn.Parameter]) -> None:
        random_grads(step, params)
        if step == 1 and "skip_nonfinite" in options:
            params[2].grad[3] = math.inf

    def after(ours: RuleOptimizer, theirs: RuleOptimizer) -> None:
        assert ours.skipped_steps == theirs.skipped_steps
        assert ours.grad_norm == pytest.approx(theirs.grad_norm)
        if "collect_stats" in options:
            assert ours.measured_steps == theirs.measured_steps
            for one, other in zip(ours.stats(), theirs.stats(), strict=True):
                assert one.name == other.name
                for name in ("grad_norm", "update_norm", "param_norm", "nonfinite", "clipped"):
                    expected = pytest.approx(getattr(other, name), rel=1e-3, nan_ok=True)
                    assert getattr(one, name) == expected, name
        if options.get("zero_grad"):
            grads = [p.grad for p in ours.param_groups[0]["params"] if p.grad is not None]
            assert not any(grad.any() for grad in grads)

    pair = pair_of(case, parameters(*FEW), **options)
    run(pair, grads=grads, after=after)
    assert_alike(pair)


@pytest.mark.parametrize("options", [{}, COUNTED_THERE], ids=["host", "device"])
def test_statistics_are_those_of_their_step(options: dict[str, Any]) -> None:
    """Asked for after the next backward, and of gradients that are zero or not finite."""
    stats = []
    for backend in ("gpu", "reference"):
        params = clones(parameters(*FEW))
        optimizer = adamantine.Adam(params, backend=backend, collect_stats=True, **options)
        for param, value in zip(params, (0.0, math.nan if not options else 2.0, 3.0), strict=True):
            param.grad = torch.full_like(param, value)
        optimizer.step()
        for param in params:
            param.grad = torch.ones_like(param)
        stats.append([(s.grad_norm, s.nonfinite) for s in optimizer.stats()])
    ours, theirs = stats
    assert [s[1] for s in ours] == [s[1] for s in theirs]
    assert [s[0] for s in ours] == pytest.approx([s[0] for s in theirs], nan_ok=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"max_grad_norm": 1.0, "skip_nonfinite": True, "zero_grad": "zeros"}, {"fused": True}],
    ids=["plain", "all", "fused"],
)
def test_a_grad_scaler(options: dict[str, Any]) -> None:
    """Steps that it leaves out, gradients that it unscaled before, and those that stay behind."""
    seen = []
    for backend in ("gpu", "reference"):
        params = clones(parameters(*FEW))
        optimizer = adamantine.AdamW(params, lr=0.1, backend=backend, **options)
        scaler = torch.amp.GradScaler(params[0].device.type, init_scale=1024.0, growth_interval=3)
        log = []
        for step in range(7):
            if "zero_grad" not in options:
                optimizer.zero_grad()
            loss = sum((p * p).sum() for p in params) * (math.inf if step in (2, 4) else 1.0)
            scaler.scale(loss).backward()
            if step == 5:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(params, 0.1)
            scaler.step(optimizer)
            scaler.update()
            left = [0.0 if p.grad is None else float(p.grad.sum()) for p in params]
            log += [optimizer.skipped_steps, optimizer.grad_norm or 0.0, *left]
        log += [float(state["step"]) for state in optimizer.state.values()]
        seen.append((log, params))
    (ours, ours_params), (theirs, theirs_params) = seen
    assert ours == pytest.approx(theirs, rel=1e-5, nan_ok=True)
    torch.testing.assert_close(ours_params, theirs_params)


def test_what_sums_over_all_parameters_decide() -> None:
    """Of gradients that are clipped, over steps that are left out; the host waits, and counts."""

    def grads(step: int, params: list[nn.Parameter]) -> None:
        for index, param in enumerate(params):
            # Away from where it is going, or nothing was to be estimated.
            param.grad = (1 + index) * (param.detach() - 1)
        if step == 3:
            params[1].grad.view(-1)[0] = math.inf

    def after(ours: RuleOptimizer, theirs: RuleOptimizer) -> None:
        for name in ("d", "d_max", "d_numerator", "k"):
            found, expected = (o.param_groups[0][name] for o in (ours, theirs))
            assert found == pytest.approx(expected, rel=1e-5)

    case = next(case for case in CASES if rule_of(case).shared_sums is not None)
    options = {"max_grad_norm": 0.5, "skip_nonfinite": True, "d0": 1e-3}
    pair = pair_of(case, parameters(*FEW), **options)
    run(pair, grads=grads, after=after)
    assert_alike(pair)
    (ours, _), _ = pair
    assert not ours._plan._tables[0].counts_on_device
    assert ours.param_groups[0]["d"] > 1e-3
