"""The state of one parameter: made when first needed, checked when it comes from elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adamantine.backends.layout import check_memory
from adamantine.errors import StateError
from adamantine.rules import Family, Rule, Settings


def prepare_state(
    family: Family, rule: Rule, param: Tensor, state: dict[str, Any], settings: Settings
) -> bool:
    """Fill in what `rule` needs in `state`, and bring the rest into the parameter's layout.

    `settings` are the group's.

    Returns
    -------
    bool
        Whether the coming step is the state's first.

    Raises
    ------
    StateError
        When a state tensor's shape, dtype or device is not the parameter's.
    BackendError
        When the storage of either was resized away.
    """
    check_memory("a parameter", param)
    fresh = any(state.get(name) is None for name in rule.states)
    initial = family.initial(settings)
    for name in family.counters:
        state[name] = _counter(state.get(name, initial.get(name, 0.0)))
    for name in rule.states:
        value = state.get(name)
        if value is None:
            state[name] = torch.zeros_like(
                param, memory_format=torch.preserve_format, requires_grad=False
            )
            if start := initial.get(name):
                # The rules see a complex number as two real ones.
                state[name].fill_(complex(start, start) if param.is_complex() else start)
        else:
            _check(name, value, param)
            check_memory(f"the state {name!r}", value)
            if value.stride() != param.stride() or value.is_neg():
                # The kernels walk a parameter and its states side by side.
                state[name] = _like(param, value)
    return fresh


def _counter(value: Any) -> Tensor:
    """A counter as torch keeps it: a float32 tensor of no dimensions, on the CPU."""
    if (
        isinstance(value, Tensor)
        and value.dtype == torch.float32
        and value.is_cpu
        and value.dim() == 0
    ):
        return value
    return torch.tensor(float(value), dtype=torch.float32)


def _like(param: Tensor, value: Tensor) -> Tensor:
    laid_out = torch.empty_like(param, requires_grad=False)
    return value if laid_out.stride() == value.stride() else laid_out.copy_(value)


def _check(name: str, value: Any, param: Tensor) -> None:
    given = (tuple(value.shape), value.dtype, value.device)
    expected = (tuple(param.shape), param.dtype, param.device)
    if given != expected:
        raise StateError(
            f"the state {name!r} is {_words(given)} but its parameter is {_words(expected)}. The "
            "parameter was replaced or moved after the optimizer had made its state: build the "
            "optimizer after model.to(...), or move it back"
        )


def _words(description: tuple[Any, ...]) -> str:
    shape, dtype, device = description
    return f"{dtype} of shape {shape} on {device}"
