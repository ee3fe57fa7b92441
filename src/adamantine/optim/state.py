"""The state of one parameter: made when first needed, checked when it comes from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.layout import check_memory, has_own_dispatch
from adamantine.backends.pages import ask_for_large_pages
from adamantine.errors import StateError
from adamantine.optim.labels import label
from adamantine.rules import Family, Rule, Settings


def prepare_state(
    family: Family,
    rule: Rule,
    param: Tensor,
    state: dict[str, Any],
    settings: Settings,
    groups: Sequence[dict[str, Any]] = (),
) -> bool:
    """Fill in what `rule` needs in `state`, and bring the rest into the parameter's layout.

    `settings` are the group's; messages find the parameter's name in `groups`, the optimizer's.

    Returns
    -------
    bool
        Whether the coming step is the state's first.

    Raises
    ------
    StateError
        When a state tensor does not have the parameter's shape and device, or has a dtype that
        :func:`kept_dtype` would not leave it.
    BackendError
        When the storage of either was resized away.
    """
    check_memory("a parameter", param)
    fresh = any(state.get(name) is None for name in rule.states)
    initial = family.initial(settings)
    for name in family.counters:
        state[name] = as_counter(state.get(name, initial.get(name, 0.0)))
    for name in rule.states:
        value = state.get(name)
        if value is None:
            state[name] = _zeros_like(param)
            if start := initial.get(name):
                # The rules see a complex number as two real ones.
                state[name].fill_(complex(start, start) if param.is_complex() else start)
        else:
            _check(name, value, param, groups)
            check_memory(f"the state {name!r}", value)
            if value.stride() != param.stride() or value.is_neg():
                # The kernels walk a parameter and its states side by side.
                state[name] = _like(param, value)
    return fresh


def _zeros_like(param: Tensor) -> Tensor:
    zeros = torch.empty_like(param, memory_format=torch.preserve_format, requires_grad=False)
    if not has_own_dispatch(zeros):
        ask_for_large_pages(zeros)
    return zeros.zero_()


def as_counter(value: Any) -> Tensor:
    """A counter as torch keeps it: a float32 tensor of no dimensions, on the CPU."""
    if (
        isinstance(value, Tensor)
        and value.dtype == torch.float32
        and value.is_cpu
        and value.dim() == 0
    ):
        return value
    return torch.tensor(float(value), dtype=torch.float32)


def kept_dtype(saved: torch.dtype, own: torch.dtype) -> torch.dtype:
    """The dtype of a state that was `saved`, beside a parameter of dtype `own`.

    The parameter's, as in a fresh state, unless that would lose digits; then float32, which is what
    rules are computed in. So float32 moments of bfloat16 weights stay float32 (torch rounds them),
    and bfloat16 moments of weights that are float32 now widen.
    """
    if torch.promote_types(saved, own) == own:
        return own
    return torch.complex64 if own.is_complex else torch.float32


def _like(param: Tensor, value: Tensor) -> Tensor:
    laid_out = torch.empty_like(param, dtype=value.dtype, requires_grad=False)
    return value if laid_out.stride() == value.stride() else laid_out.copy_(value)


def _check(name: str, value: Any, param: Tensor, groups: Sequence[dict[str, Any]]) -> None:
    fits = value.shape == param.shape and value.device == param.device
    if not fits or value.dtype != kept_dtype(value.dtype, param.dtype):
        raise StateError(
            f"the state {name!r} of {label(groups, param)} is {_words(value)} but its parameter is "
            f"{_words(param)}. The parameter was replaced or moved after the optimizer had made "
            "its state: build the optimizer after model.to(...), or move it back"
        )


def _words(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
