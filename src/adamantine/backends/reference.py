"""The reference backend: a rule on whole tensors, by torch.

Any device, any dtype, differentiable on request; in float64 it is the oracle that the other
backends are tested against. A dozen passes over memory where the compiled ones need one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from adamantine.backends import codes
from adamantine.backends.formats import Format, exponents_of
from adamantine.rules import Rule, Share, bind


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Choose by element where the condition has elements, as a whole where it is one number."""
    if isinstance(condition, Tensor) and condition.dim() > 0:
        return torch.where(condition.bool(), x, y)
    return x if condition else y


def _signum(x: Tensor) -> Tensor:
    # torch's sign turns NaN into 0, which would hide it.
    return torch.where(x.isnan(), x, torch.sign(x))


def _maximum(x: Tensor, y: Any) -> Tensor:
    return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp(x, min=y)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "sqrt": torch.sqrt,
    "absolute": torch.abs,
    "signum": _signum,
    "maximum": _maximum,
    "where": _where,
    "as_bfloat16": lambda x: x.bfloat16().float(),
    "as_float16": lambda x: x.half().float(),
    **codes.OPERATIONS,
}


HALF = (torch.float16, torch.bfloat16)


@cache
def bound(function: Callable[..., Any]) -> Any:
    """A function of `rules` for whole tensors."""
    return bind(function, OPERATIONS)


def update(
    rule: Rule,
    param: Tensor,
    grad: Tensor,
    states: Sequence[Tensor],
    scalars: Mapping[str, Any],
    *,
    differentiable: bool = False,
    share: float | None = None,
) -> None:
    """Run `rule` once, in place, on one parameter of any dtype, device and strides.

    Complex tensors are taken as pairs of real ones, as torch does. With `differentiable` the
    update is recorded by autograd, through parameters, gradients, states and tensor scalars. The
    `share` of elements that a rule asks for is found here, or given: that of a whole tensor of
    which this is a part.
    """
    if param.is_conj():  # whose numbers are not those in memory
        resolved = param.resolve_conj()
        update(rule, resolved, grad, states, scalars, differentiable=differentiable, share=share)
        param.copy_(resolved)
        return
    tensors = _reals(param, grad, states)
    param, _, *states = tensors
    tensors = _computed_with(tensors)
    if differentiable:
        # Autograd may keep an input for its backward pass; the writes below must not touch it.
        tensors = [t.clone() for t in tensors]
    if rule.share is not None:
        if share is None:
            decided = bound(rule.share.value)(_share(rule, rule.share, tensors, scalars))
            # Beside a parameter without dimensions, float64 would widen what it is multiplied by.
            decided = decided.to(tensors[0].dtype)
        else:
            decided = rule.share.value(share)
        scalars = {**scalars, rule.share.scalar: decided}
    results = bound(rule.update)(*tensors, *(scalars[name] for name in rule.scalars))
    for target, value in zip((param, *states), results, strict=True):
        target.copy_(value)


def _reals(param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    tensors = [param, grad.resolve_conj(), *states]
    return [torch.view_as_real(t) for t in tensors] if param.is_complex() else tensors


def _computed_with(tensors: Sequence[Tensor]) -> list[Tensor]:
    # As the kernels do: sixteen bits are what is kept, not what is computed with.
    return [t.float() if t.dtype in HALF else t for t in tensors]


def update_kept(
    rule: Rule,
    formats: Sequence[Format],
    param: Tensor,
    grad: Tensor,
    state: Mapping[str, Any],
    scalars: Mapping[str, Any],
    key: int,
    *,
    share: float | None = None,
    places: Tensor | None = None,
) -> None:
    """Run `rule` once, in place, on a parameter and states of any formats.

    `state` holds states and exponents by name, `key` is what the step's random numbers come from.
    Of a part of a tensor, `share` and `places` (:func:`.codes.encode`) are those in the whole.
    """
    values = opened(rule, formats, state)
    stochastic = formats[0].stochastic
    target = param.detach().float() if stochastic else param
    update(rule, target, grad, values, scalars, share=share)
    for consumer, (name, kept) in enumerate(zip(rule.states, formats[1:], strict=True)):
        value = values[consumer]
        if kept.coded:
            exponents = state[exponents_of(name)]
            codes.encode(value, state[name], exponents, kept.signed, key, consumer, places)
        elif kept.stochastic:
            state[name].copy_(codes.stochastic_bfloat16(value, key, consumer, places))
    if stochastic:
        param.copy_(codes.stochastic_bfloat16(target, key, len(values), places))


def joined(rule: Rule, param: Tensor, second: Tensor) -> Tensor:
    """The number that a parameter and its rule's last state are."""
    number: Tensor = bound(rule.joined)(*_computed_with([param, second]))
    return number


def opened(rule: Rule, formats: Sequence[Format], state: Mapping[str, Any]) -> list[Tensor]:
    """The states of a rule as numbers to compute with."""
    values = []
    for name, kept in zip(rule.states, formats[1:], strict=True):
        if kept.coded:
            values.append(codes.decoded(state[name], state[exponents_of(name)], kept.signed))
        else:
            values.append(state[name].float() if kept.stochastic else state[name])
    return values


def count(
    rule: Rule,
    param: Tensor,
    grad: Tensor,
    states: Sequence[Tensor],
    scalars: Mapping[str, Any],
) -> int:
    """How many elements have the property that the rule's share is of."""
    assert rule.share is not None
    if param.is_conj():
        param = param.resolve_conj()
    tensors = _computed_with(_reals(param, grad, states))
    return int((_property(rule, rule.share, tensors, scalars) > 0).sum())


def _property(
    rule: Rule, share: Share, tensors: Sequence[Tensor], scalars: Mapping[str, Any]
) -> Tensor:
    values = {**scalars, **dict(zip(rule.tensors, tensors, strict=True))}
    holds: Tensor = bound(share.holds)(*(values[name] for name in share.arguments))
    return holds


def _share(
    rule: Rule, share: Share, tensors: Sequence[Tensor], scalars: Mapping[str, Any]
) -> Tensor:
    """How many of this tensor's elements have a property.

    It stays a tensor, in the precision of host scalars: nobody waits for a device, and whoever
    traces the step finds it in the graph.
    """
    holds = _property(rule, share, tensors, scalars)
    wide = torch.float32 if holds.device.type == "mps" else torch.float64  # it has no float64
    fraction: Tensor = (holds > 0).sum().to(wide) / max(1, holds.numel())
    return fraction
