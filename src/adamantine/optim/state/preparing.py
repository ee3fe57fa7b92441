"""The state of one parameter: made when first needed, checked when it comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adamantine.backends import codes
from adamantine.backends.formats import CODES, OFFSETS, Format, exponents_of
from adamantine.backends.huge_pages import ask_for_large_pages
from adamantine.backends.layout import check_memory, has_own_dispatch
from adamantine.backends.shards import is_dtensor, like, local_of, spread
from adamantine.errors import StateError
from adamantine.optim.state.precision import Treatment, is_asked, kept_dtype
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.optim.usage.labels import label
from adamantine.rules import Family, Rule, Settings
from adamantine.rules.paired import MASTER, SECONDS


def prepare_state(
    family: Family,
    treatment: Treatment,
    param: Tensor,
    state: dict[str, Any],
    settings: Settings,
    groups: Sequence[dict[str, Any]] = (),
    called: Tensor | None = None,
    counts_on: torch.device | None = None,
) -> bool:
    """Fill in what a step needs in `state`, and bring the rest into its layout and format.

    `settings` are the group's; messages find the parameter's name in `groups`, the optimizer's,
    where it is `called` if not `param`. Counters are on the device `counts_on`, by default in main
    memory.

    Returns
    -------
    bool
        Whether the coming step is the state's first.

    Raises
    ------
    StateError
        When a state tensor does not have the shape and device that go with the parameter, or has a
        dtype that :func:`kept_dtype` would not leave it.
    BackendError
        When the storage of either was resized away.
    """
    check_memory("a parameter", param)
    called = param if called is None else called
    rule = treatment.rule
    for name in set(SECONDS) - set(rule.states):
        state.pop(name, None)  # the parameter moves on without it
    # These may begin later than the rest.
    fresh = any(state.get(name) is None for name in rule.states if name not in SECONDS)
    initial = {
        name: value.item() if isinstance(value, Tensor) else value  # a learning rate may be one
        for name, value in family.initial(settings).items()
    }
    for name in treatment.counters:
        if name in family.counters:
            value = state.get(name, initial.get(name, 0.0))
        else:
            # Only random numbers need it, but the rule takes a count of 0 for its first step: one
            # whose states are new has that ahead, and one that has states without a count had it.
            value = 0.0 if fresh else state.get(name, float(bool(rule.states)))
        if settings.get(BY_AUTOGRAD) and isinstance(value, Tensor) and value.requires_grad:
            if name == "step":
                raise StateError(
                    "`requires_grad` is not supported for `step` in differentiable mode: "
                    f"that of {label(groups, called)} has it; pass its detach()"
                )
            continue  # as it is: another dtype would be another tensor to differentiate by
        state[name] = as_counter(value, counts_on)
    for name, kept in zip(rule.states, treatment.formats[1:], strict=True):
        value, like = state.get(name), _like_state(param, rule, name)
        if value is None:
            _begin(state, name, kept, like, initial.get(name, 0.0))
            continue
        who = partial(label, groups, called)
        _check(name, state, param, like.shape, is_asked(settings, name), who)
        check_memory(f"the state {name!r}", value)
        convert(state, name, kept, like, rule)
        value = state[name]
        lazy = value.is_neg() or value.is_conj()
        if not kept.coded and (lazy or value.stride() != like.stride()):
            # The kernels walk a parameter and its states side by side, and read what is in memory.
            state[name] = _laid_out(like, value)
    return fresh


def convert(state: dict[str, Any], name: str, kept: Format, param: Tensor, rule: Rule) -> None:
    """Bring a state that is there into the format `kept`; to nearest, where that rounds."""
    value: Tensor = state[name]
    exponents: Any = state.get(exponents_of(name))
    coded = exponents is not None
    if name == MASTER:
        state[name] = codes.master_in(kept.dtype, value, param)
    elif coded == kept.coded:
        if kept.coded and _laid_out(param, value) is not value:
            # The blocks are in the order of memory, and so were made for another layout.
            values = codes.decoded(value, exponents, kept.signed)
            _encode(state, name, kept, param, values)
        elif not kept.coded and value.dtype != kept.dtype:
            state[name] = value.to(kept.dtype)
    elif coded:
        values = codes.decoded(value, exponents, signed=name not in rule.nonnegative)
        state[name] = _laid_out(param, values.to(kept.dtype))
        del state[exponents_of(name)]
    else:
        _encode(state, name, kept, param, value)


def decoded_entry(entry: dict[str, Any], rule: Rule) -> dict[str, Any]:
    """A parameter's state with numbers in the place of codes; itself where there are none."""
    coded = [name for name in rule.states if exponents_of(name) in entry]
    if not coded:
        return entry
    exponents = {name: entry[exponents_of(name)] for name in coded}
    found = {k: v for k, v in entry.items() if k not in map(exponents_of, coded)}
    for name in coded:
        signed = name not in rule.nonnegative
        numbers = codes.decoded(local_of(found[name]), exponents[name], signed)
        found[name] = like(found[name], numbers)
    return found


def _like_state(param: Tensor, rule: Rule, name: str) -> Tensor:
    """A tensor of a state's shape and strides: the parameter where that is of its shape."""
    if name not in rule.shapes:
        return param
    return param.detach().new_empty(rule.shape_of(name, param.shape))


def _begin(state: dict[str, Any], name: str, kept: Format, param: Tensor, start: float) -> None:
    """A state that has seen no step."""
    if kept.coded:
        values = None
        if start:
            values = torch.full_like(param, start, dtype=torch.float32, requires_grad=False)
        _encode(state, name, kept, param, values)
        return
    zeros = torch.empty_like(
        param, dtype=kept.dtype, memory_format=torch.preserve_format, requires_grad=False
    )
    if not has_own_dispatch(zeros):
        ask_for_large_pages(zeros)
    state[name] = zeros.zero_()
    if start:
        # The rules see a complex number as two real ones.
        zeros.fill_(complex(start, start) if param.is_complex() else start)


def _encode(
    state: dict[str, Any], name: str, kept: Format, param: Tensor, values: Tensor | None
) -> None:
    """Write values, or zeros, as codes."""
    state[name], state[exponents_of(name)] = codes.empty_codes(param)
    if values is not None:
        codes.encode(values, state[name], state[exponents_of(name)], kept.signed)


def as_counter(value: Any, device: torch.device | None = None) -> Tensor:
    """A counter as torch keeps it: a float32 tensor of no dimensions, by default on the CPU."""
    device = device or torch.device("cpu")
    if (
        isinstance(value, Tensor)
        and value.dtype == torch.float32
        and value.device == device
        and value.dim() == 0
    ):
        return value
    return torch.tensor(float(value), dtype=torch.float32, device=device)


def _laid_out(param: Tensor, value: Tensor) -> Tensor:
    """`value` with the strides of `param`, and nothing lazy about it."""
    laid_out = torch.empty_like(param, dtype=value.dtype, requires_grad=False)
    as_is = laid_out.stride() == value.stride() and not (value.is_neg() or value.is_conj())
    return value if as_is else laid_out.copy_(value)


def _check(
    name: str,
    state: dict[str, Any],
    param: Tensor,
    shape: Sequence[int],
    asked: bool,
    who: Callable[[], str],
) -> None:
    value, exponents = state[name], state.get(exponents_of(name))
    if is_dtensor(value) != is_dtensor(param):
        raise StateError(
            f"the state {name!r} of {who()} is {spread(value)}, and its parameter "
            f"{spread(param)}: the parameter was sharded, or made whole, after the optimizer had "
            "made its state. Build the optimizer after fully_shard(...) or parallelize_module(...)"
        )
    if exponents is None:
        # An option may have changed since; without one, only what a fresh state could be.
        known = (
            value.is_floating_point()
            if asked
            else value.dtype == kept_dtype(value.dtype, param.dtype)
        ) or (name == MASTER and value.dtype == OFFSETS)
    else:
        known = value.dtype == CODES and is_beside(exponents, param)
    if not known or value.shape != shape or value.device != param.device:
        expected = "" if shape == param.shape else f", for which it is of shape {tuple(shape)}"
        raise StateError(
            f"the state {name!r} of {who()} is {_words(value)} but its parameter is "
            f"{_words(param)}{expected}. The parameter was replaced or moved after the optimizer "
            "had made its state: build the optimizer after model.to(...), or move it back"
        )


def is_beside(exponents: Any, param: Tensor, *, anywhere: bool = False) -> bool:
    """Whether there is an exponent for each block of a parameter, on its device or `anywhere`."""
    expected = (codes.block_count(param.numel()),)
    if not isinstance(exponents, Tensor) or exponents.shape != expected:
        return False
    return exponents.dtype == CODES and (anywhere or exponents.device == param.device)


def _words(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
