"""Optimizers over parameters that nothing but their names tells apart, and what they save."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import nn

import adamantine
from contract import parameters, train


def named(*names: str, seed: int = 0) -> list[tuple[str, nn.Parameter]]:
    """Parameters of three by two, so that nothing but their names tells them apart."""
    params = parameters(*[(3, 2)] * len(names), seed=seed)
    return list(zip(names, params, strict=True))


def trained(groups: Any, steps: int = 3, **settings: Any) -> adamantine.Adam:
    optimizer = adamantine.Adam(groups, **settings)
    train(optimizer, [p for g in optimizer.param_groups for p in g["params"]], steps)
    return optimizer


def by_name(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    return {
        name: optimizer.state[param]
        for group in optimizer.param_groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
    }


def saved(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state as it comes out of a file."""
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def assert_states_by_name(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer) -> None:
    a, b = by_name(ours), by_name(theirs)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].keys() == b[name].keys() != set()
        for key in a[name]:
            assert torch.equal(a[name][key], b[name][key]), (name, key)
