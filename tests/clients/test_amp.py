"""``GradScaler`` and autocast: scaled, unscaled by hand and skipped steps, as torch's classes."""

from __future__ import annotations

import pytest
import torch

import adamantine
from torch_database import SHARED, both

INFINITE_AT = (3, 7)


def train(cls: type[torch.optim.Optimizer], unscale: bool, **settings: object):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    optimizer = cls(model.parameters(), **settings)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    trace, skipped = [], []
    for step, inputs in enumerate(torch.randn(12, 10, 6)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(inputs).square().mean()
        scaler.scale(loss).backward()
        if step in INFINITE_AT:
            next(iter(model.parameters())).grad[0, 0] = torch.inf
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.3)
        before = [p.detach().clone() for p in model.parameters()]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if all(map(torch.equal, before, model.parameters())):
            skipped.append(step)
        trace.append((loss.item(), scaler.get_scale()))
    return trace, skipped, [p.detach() for p in model.parameters()], optimizer.state_dict()["state"]


@pytest.mark.parametrize("unscale", [False, True], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("name", SHARED)
def test_scaled_steps_as_torch(name: str, unscale: bool) -> None:
    ours, theirs = (train(cls, unscale) for cls in both(name))
    assert ours[1] == theirs[1] == list(INFINITE_AT)
    assert [scale for _, scale in ours[0]] == [scale for _, scale in theirs[0]]
    for mine, other in zip(ours[2:], theirs[2:], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hint", ["fused", "foreach"])
def test_hints_keep_the_scaler_working(hint: str) -> None:
    # With fused=True torch's class takes the scale and the infinity into its own step.
    plain, hinted = train(adamantine.AdamW, True), train(adamantine.AdamW, True, **{hint: True})
    assert plain[:2] == hinted[:2]
    assert all(map(torch.equal, plain[2], hinted[2]))
    theirs = train(torch.optim.AdamW, True, fused=True)
    assert hinted[1] == theirs[1]
    torch.testing.assert_close(hinted[2], theirs[2], rtol=1e-4, atol=1e-6)
