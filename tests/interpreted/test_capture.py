"""Steps that a CUDA graph repeats: nothing of them is done by the host."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from device import DEVICE, INTERPRETED, parameters
from recorded import recording

import adamantine
from adamantine.backends.gpu import streams
from adamantine.backends.gpu.kernel.memory import TILE
from contract import clones

SIZES = 7, TILE + 1


def fill(params: list[Any], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in params:
        grad = torch.randn(param.shape, generator=generator).to(DEVICE)
        if param.grad is None:
            param.grad = torch.empty_like(param)
        param.grad.copy_(grad)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {}),
        ("AdamW", {"amsgrad": True, "max_grad_norm": 1.0}),
        ("NAdam", {"max_grad_norm": 1.0, "skip_nonfinite": True}),
        pytest.param("RAdam", {"state_dtype": "int8"}, marks=pytest.mark.slow),
        pytest.param("Adamax", {"cautious": True}, marks=pytest.mark.slow),
        pytest.param("Adagrad", {"lr_decay": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_a_captured_step_is_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any]
) -> None:
    """With another learning rate and another clip, in tensors, and after eager steps in between."""
    ours, theirs = clones(parameters(*SIZES)), clones(parameters(*SIZES))
    lr = torch.tensor(0.01, dtype=torch.float64, device=DEVICE)
    clip = torch.tensor(1.0, device=DEVICE)
    of_ours = {"capturable": True} if name != "Adagrad" else {}
    clipping = {"max_grad_norm": clip} if "max_grad_norm" in settings else {}
    optimizer = getattr(adamantine, name)(
        ours, backend="gpu", **{**settings, "lr": lr, **of_ours, **clipping}
    )
    expected = getattr(adamantine, name)(theirs, backend="reference", **{**settings, "lr": 0.01})
    steps = iter(range(100))

    def expect(step: int) -> None:
        fill(theirs, step)
        expected.step()

    for _ in range(2):  # warm-up
        step = next(steps)
        fill(ours, step)
        optimizer.step()
        expect(step)
    # A graph of CUDA records and does nothing; ours does a step meanwhile.
    step = next(steps)
    fill(ours, step)
    with recording(monkeypatch) as replay:
        optimizer.step()
    if not INTERPRETED:
        replay()
    expect(step)
    for factor in (1.0, 0.5, 0.1):
        lr.mul_(factor)
        expected.param_groups[0]["lr"] *= factor
        if clipping:
            clip.mul_(factor)
            expected._gradient_scaling._max_norm *= factor
        step = next(steps)
        fill(ours, step)
        replay()
        expect(step)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    grads = [param.grad for param in ours]
    # An eager step with gradients elsewhere must not change what the graph reads.
    step = next(steps)
    for param in ours:
        param.grad = None
    fill(ours, step)
    optimizer.step()
    expect(step)
    for param, grad in zip(ours, grads, strict=True):
        param.grad = grad
    step = next(steps)
    fill(ours, step)
    replay()
    expect(step)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    for param, other in zip(ours, theirs, strict=True):
        assert optimizer.state[param]["step"] == expected.state[other]["step"]
    if "skip_nonfinite" in settings:
        fill(ours, next(steps))
        ours[0].grad[0] = math.nan
        before = clones(ours)
        replay()
        assert all(map(torch.equal, ours, before))
        assert optimizer.skipped_steps == 1


@pytest.mark.skipif(not INTERPRETED, reason="looks into what was recorded")
@pytest.mark.parametrize("options", [{}, {"cautious": True, "state_dtype": "int8"}], ids=str)
def test_what_a_graph_reads_is_kept(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """When the optimizer has another table, and when it was copied."""
    params = parameters(*SIZES, 3)
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr": torch.tensor(0.1)}]
    optimizer = adamantine.Adam(
        groups, backend="gpu", capturable=True, max_grad_norm=1.0, skip_nonfinite=True, **options
    )
    for step in range(2):
        fill(params, step)
        optimizer.step()
    there = {id(t): t for t in gc.get_objects() if isinstance(t, torch.Tensor)}
    with recording(monkeypatch) as replay:
        optimizer.step()
    given = [weakref.ref(there[key]) for key in replay.given if key in there]
    del there
    params[0].grad[0] = math.nan
    copy.deepcopy(optimizer)
    replay()
    assert optimizer.skipped_steps == 1, "the graph counts where it did"
    replay.calls.clear()
    optimizer.add_param_group({"params": parameters(1)})
    optimizer._gradient_scaling._there = None
    gc.collect()
    assert given
    assert all(ref() is not None for ref in given)


@pytest.mark.skipif(not INTERPRETED, reason="looks into what was recorded")
def test_what_cuda_forbids_while_a_graph_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned memory from the driver, and looking whether something has arrived."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("not while a graph is recorded")

    params = parameters(*SIZES)
    optimizer = adamantine.Adam(params, backend="gpu", capturable=True, skip_nonfinite=True)
    fill(params, 0)
    optimizer.step()
    there = optimizer._gradient_scaling._there
    there._readback = streams.Readback(
        torch.zeros(2), SimpleNamespace(query=refuse), params[0].device
    )
    for _ in range(2):
        with recording(monkeypatch), monkeypatch.context() as patched:
            patched.setattr(streams, "pinned", refuse)
            optimizer.step()
