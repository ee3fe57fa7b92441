"""What only a GPU can show: waiting, streams, scalers, several devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from device import DEVICE, parameters
from torch import nn

import adamantine
from contract import clones, train

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        "max_grad_norm": 1.0,
        "skip_nonfinite": True,
        "zero_grad": "zeros",
        "collect_stats": True,
        "cautious": True,
        "state_dtype": "int8",
    },
    "capturable": {"capturable": True, "max_grad_norm": 1.0},
}


@pytest.fixture
def no_waiting() -> Iterator[Any]:
    """Make it an error to wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_step_does_not_wait(no_waiting: Any, options: dict[str, Any]) -> None:
    params = parameters(1000, (30, 40), 7)
    optimizer = adamantine.Adam(params, **options)
    train(optimizer, params, 3)
    for param in params:
        param.grad = torch.randn_like(param)
    no_waiting()
    for _ in range(3):
        optimizer.step()
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    if "max_grad_norm" in options:
        assert optimizer.grad_norm >= 0


def test_auto_takes_a_gpu_and_says_so_where_it_cannot() -> None:
    params = parameters(10)
    optimizer = adamantine.Adam(params)
    train(optimizer, params, 1)
    assert optimizer._plan._tables[0].on_device


def test_a_step_on_another_stream() -> None:
    """Memory that is freed meanwhile is not given to others too early."""
    ours, theirs = parameters(1 << 20), parameters(1 << 20)
    optimizer = adamantine.Adam(ours)
    expected = torch.optim.Adam(theirs)
    side = torch.cuda.Stream()
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        grad = torch.randn(1 << 20, generator=generator).to(DEVICE)
        ours[0].grad, theirs[0].grad = grad.clone(), grad.clone()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            optimizer.step()
        ours[0].grad = None
        torch.randn(1 << 20, device=DEVICE)  # would take the gradient's memory
        expected.step()
    torch.cuda.current_stream().wait_stream(side)
    torch.testing.assert_close(ours, theirs)


def test_grad_scaler_and_autocast_as_torch() -> None:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)).to(DEVICE)]
    models.append(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)).to(DEVICE))
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        adamantine.AdamW(models[0].parameters()),
        torch.optim.AdamW(models[1].parameters()),
    ]
    for model, optimizer in zip(models, optimizers, strict=True):
        scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
        for step in range(6):
            inputs = torch.randn(16, 20, generator=torch.Generator().manual_seed(step)).to(DEVICE)
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = model(inputs).square().mean()
            scaler.scale(loss).backward()
            if step == 2:
                next(model.parameters()).grad[0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
    torch.testing.assert_close(
        list(models[0].parameters()), list(models[1].parameters()), rtol=1e-4, atol=1e-6
    )
    assert optimizers[0].skipped_steps == 1


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_parameters_on_several_gpus() -> None:
    for options in ({}, {"max_grad_norm": 1.0, "skip_nonfinite": True}):
        ours = [
            nn.Parameter(p.detach().to(f"cuda:{i % 2}"))
            for i, p in enumerate(parameters(5, 9, 700))
        ]
        theirs = clones(ours)
        pair = (
            adamantine.Adam(ours, **options),
            adamantine.Adam(theirs, backend="reference", **options),
        )
        for optimizer, params in zip(pair, (ours, theirs), strict=True):
            train(optimizer, params, 4)
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)
