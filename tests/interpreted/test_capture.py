"""Steps that a CUDA graph repeats: nothing of them is done by the host."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from device import DEVICE, INTERPRETED, parameters
from recorded import recording

import adamantine
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
