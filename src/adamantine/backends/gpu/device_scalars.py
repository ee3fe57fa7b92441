"""Scalars computed on a device, from counters that live there and that the host never reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.gpu.streams import number_on
from adamantine.rules import bind


def _where(condition: Any, x: Any, y: Any) -> Any:
    if not isinstance(condition, Tensor):
        return x if condition else y
    if not (isinstance(x, Tensor) or isinstance(y, Tensor)):
        x = torch.full((), x, dtype=torch.float64, device=condition.device)  # not a float32
    return torch.where(condition, x, y)


@cache
def _on_tensors(scalars: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    bound: Callable[..., dict[str, Any]] = bind(scalars, {"where": _where})
    return bound


def scalars_on_device(
    scalars: Callable[..., dict[str, Any]], settings: Mapping[str, Any], counters: Sequence[Tensor]
) -> dict[str, Any]:
    """A family's `scalars` for many tensors at once; nobody waits for the device.

    Parameters
    ----------
    scalars
        The family's.
    settings
        The group's. One-element tensors among them are read on the device.
    counters
        Float64 vectors with an element for each tensor: the coming step's number, and the other
        counters before it.

    Returns
    -------
    dict
        Float64 vectors, and numbers where something is the same for all tensors.
    """
    device = counters[0].device
    given = {name: _moved(value, device) for name, value in settings.items() if name != "params"}
    return _on_tensors(scalars)(given, *counters)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_moved(v, device) for v in value)
    if not isinstance(value, Tensor):
        return value
    return number_on(device, value)
