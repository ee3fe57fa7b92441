"""Every scheduler of torch takes our optimizers where it takes torch's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as s

import adamantine
from contract import clones, parameters

# What each is built with; schedulers that are given here by no name make the test below fail.
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda o: s.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: s.MultiplicativeLR(o, lambda step: 0.95),
    "StepLR": lambda o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: s.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: s.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda o: s.LinearLR(o, 0.2, 1.0, 6),
    "ExponentialLR": lambda o: s.ExponentialLR(o, 0.8),
    "SequentialLR": lambda o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 8)], [4]
    ),
    "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, 8),
    "ChainedScheduler": lambda o: s.ChainedScheduler(
        [s.ExponentialLR(o, 0.9), s.ConstantLR(o, 0.5, 4)], o
    ),
    "ReduceLROnPlateau": lambda o: s.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "CyclicLR": lambda o: s.CyclicLR(o, 1e-3, 1e-2, step_size_up=3),
    "CosineAnnealingWarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda o: s.OneCycleLR(o, 1e-2, total_steps=14),
    "PolynomialLR": lambda o: s.PolynomialLR(o, 10, 2.0),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 5e-3},
    "SGD": {"lr": 5e-3, "momentum": 0.9},
    "RMSprop": {"lr": 5e-3, "momentum": 0.9},
}
STEPS = 12


def run(module: Any, name: str, scheduler: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train by a schedule, through its checkpoint in the middle; what each step has used."""
    params = clones(parameters(20, (3, 4)))
    start = {**settings, "lr": torch.tensor(settings["lr"])} if "tensor" in settings else settings
    start = {k: v for k, v in start.items() if k != "tensor"}
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": start["lr"] * 2}]
    optimizer = getattr(module, name)(groups, **start)
    schedule = SCHEDULES[scheduler](optimizer)
    generator = torch.Generator().manual_seed(3)
    used = []
    for step in range(STEPS):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator)
        optimizer.step()
        watched = ("lr", "momentum", "betas")
        used.append([[_number(g[k]) for k in watched if k in g] for g in optimizer.param_groups])
        with warnings.catch_warnings():
            # SequentialLR calls step(0) of its parts, which torch itself deprecates.
            warnings.filterwarnings(
                "ignore", message="The epoch parameter in", category=UserWarning
            )
            schedule.step(*([1.0] if scheduler == "ReduceLROnPlateau" else []))
        if step == STEPS // 2:
            optimizer.load_state_dict(optimizer.state_dict())
            schedule.load_state_dict(schedule.state_dict())
    return {"params": params, "used": used}


def _number(value: Any) -> Any:
    return [_number(v) for v in value] if isinstance(value, tuple) else float(value)


def test_every_scheduler_of_torch_is_here() -> None:
    assert set(SCHEDULES) >= set(s.__all__) - {"LRScheduler"}


@pytest.mark.parametrize("tensor", [False, True], ids=["number", "tensor"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_a_schedule_leads_where_it_leads_torchs(scheduler: str, name: str, tensor: bool) -> None:
    settings = {**OPTIMIZERS[name], **({"tensor": True} if tensor else {})}
    ours = run(adamantine, name, scheduler, settings)
    theirs = run(torch.optim, name, scheduler, settings)
    assert ours["used"] == theirs["used"]
    assert len({str(used) for used in ours["used"]}) > 1  # it does schedule
    torch.testing.assert_close(ours["params"], theirs["params"], rtol=1e-4, atol=1e-6)
