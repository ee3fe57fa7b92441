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
from adamantine.rules import Factor, Rule, Sums, bind
from adamantine.rules.rule import Axis, Kind


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
    decided: float | None = None,
) -> None:
    """Run `rule` once, in place, on one parameter of any dtype, device and strides.

    Complex tensors are taken as pairs of real ones, as torch does. With `differentiable` the
    update is recorded by autograd, through parameters, gradients, states and tensor scalars. What
    a rule's sums over a tensor decide is found here, or given: that of a whole tensor of which this
    is a part. What sums over all parameters decide is among the scalars.
    """
    if param.is_conj():  # whose numbers are not those in memory
        resolved = param.resolve_conj()
        given = rule, resolved, grad, states, scalars
        update(*given, differentiable=differentiable, decided=decided)
        param.copy_(resolved)
        return
    tensors = _reals(param, grad, states)
    param, _, *states = tensors
    tensors = computed_with(tensors)
    if differentiable:
        # Autograd may keep an input for its backward pass; the writes below must not touch it.
        tensors = [t.clone() for t in tensors]
    if rule.factors:
        tensors, scalars = factored(rule, tensors, scalars)
    if (own := rule.tensor_sums) is not None:
        found: Any = decided
        if found is None:
            sums = _summed(rule, own, tensors, scalars)
            # Beside a parameter without dimensions, float64 would widen what it is multiplied by.
            found = decide(own, [sums], [param.numel()], scalars)[0].to(tensors[0].dtype)
        scalars = {**scalars, own.scalar: found}
    results = bound(rule.update)(*tensors, *(scalars[name] for name in rule.scalars))
    targets = (param, *states)
    # One that a rule hands on as another one is about to be overwritten.
    values = [r.clone() if any(r is t for t in targets) else r for r in results]
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def factored(
    rule: Rule, tensors: Sequence[Tensor], scalars: Mapping[str, Any]
) -> tuple[list[Tensor], dict[str, Any]]:
    """Tensors and scalars, with what the rule's factors have decided in their places."""
    known: dict[str, Any] = {**scalars, **dict(zip(rule.tensors, tensors, strict=True))}
    for factor in rule.factors:
        term = bound(factor.of)(*(known[name] for name in factor.arguments))
        decided = decide_factor(factor, term, tensors[0].shape, known)
        known[factor.decides] = decided.to(tensors[0].dtype)
    return [known[name] for name in rule.tensors], known


def decide_factor(
    factor: Factor, term: Tensor, shape: Sequence[int], known: Mapping[str, Any]
) -> Tensor:
    """What a factor is, in what sums are in: a tensor of one row, or of one column.

    Parameters
    ----------
    factor
        One of a rule's.
    term
        What is summed up, of each element.
    shape
        The parameter's.
    known
        What the value may be made of, by name: the rule's states, earlier factors and scalars.
    """
    rows, columns = (max(1, size) for size in shape[-2:])
    total = summed_along(term, factor.kind, factor.along)
    given = {**known, "total": total, "rows": rows, "columns": columns}
    decided: Tensor = bound(factor.value)(*(given[name] for name in factor.needed))
    return decided


def summed_along(x: Tensor, kind: Kind, along: Axis) -> Tensor:
    """A sum for each row or column of a tensor, in float64; the same for any number of threads."""
    dim = -1 if along == "rows" else -2
    if x.numel() == x.shape[dim]:
        return summed(x, kind).reshape([1] * x.dim())  # of one sum, torch gives each thread a part
    if kind == "count":
        return (x > 0).sum(dim, keepdim=True).to(wide(x.device))
    if kind == "squares" and not x.is_cpu:  # without a copy of it in float64
        norms: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=wide(x.device))
        return norms * norms
    x = x.to(wide(x.device))
    return (x * x if kind == "squares" else x).sum(dim, keepdim=True)


def _reals(param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    tensors = [param, grad.resolve_conj(), *states]
    return [torch.view_as_real(t) for t in tensors] if param.is_complex() else tensors


def computed_with(tensors: Sequence[Tensor]) -> list[Tensor]:
    """As in kernels: sixteen bits are what is kept, not what is computed with."""
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
    decided: float | None = None,
    places: Tensor | None = None,
) -> None:
    """Run `rule` once, in place, on a parameter and states of any formats.

    `state` holds states and exponents by name, `key` is what the step's random numbers come from.
    Of a part of a tensor, `decided` and `places` (:func:`.codes.encode`) are those of the whole.
    """
    values = opened(rule, formats, state)
    stochastic = formats[0].stochastic
    target = param.detach().float() if stochastic else param
    update(rule, target, grad, values, scalars, decided=decided)
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
    number: Tensor = bound(rule.joined)(*computed_with([param, second]))
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


def sums(
    rule: Rule,
    param: Tensor,
    grad: Tensor,
    states: Sequence[Tensor],
    scalars: Mapping[str, Any],
) -> list[float]:
    """What the rule's sums are, of the elements that are here."""
    assert rule.sums is not None
    if param.is_conj():
        param = param.resolve_conj()
    tensors = computed_with(_reals(param, grad, states))
    # Not tolist(), which looks past whoever traces the step or maps over it.
    return [found.item() for found in _summed(rule, rule.sums, tensors, scalars)]


def _summed(
    rule: Rule, sums: Sums, tensors: Sequence[Tensor], scalars: Mapping[str, Any]
) -> Tensor:
    """A vector of a rule's sums over one tensor.

    It stays a tensor: nobody waits for a device, and whoever traces the step finds it in the graph.
    """
    values = {**scalars, **dict(zip(rule.tensors, tensors, strict=True))}
    terms = bound(sums.of)(*(values[name] for name in sums.arguments))
    return torch.stack([summed(term, sums.kind) for term in terms])


ROW = 4_096
"""Elements that are added up by themselves: of a whole tensor, torch gives each thread a part."""


def summed(x: Tensor, kind: Kind) -> Tensor:
    """The sum over a tensor, in float64; the same for any number of threads."""
    if kind == "count":
        return (x > 0).sum().to(wide(x.device))
    x = x.to(wide(x.device)).reshape(-1)
    x = x * x if kind == "squares" else x
    rows = x.numel() // ROW
    ends = x[rows * ROW :].sum()
    return x[: rows * ROW].view(rows, ROW).sum(1).sum() + ends if rows else ends


def wide(device: torch.device) -> torch.dtype:
    """What sums are in."""
    return torch.float32 if device.type == "mps" else torch.float64  # it has no other


def decide(
    sums: Sums,
    found: Sequence[Tensor],
    elements: Sequence[int],
    scalars: Mapping[str, Any],
) -> Tensor:
    """The scalar that sums decide, for T tensors: a vector, in what sums are in.

    Parameters
    ----------
    sums
        The rule's.
    found
        What they are, a vector for each tensor.
    elements
        How many each tensor has.
    scalars
        The rule's others, which these tensors have in common.
    """
    columns = torch.stack(list(found)).unbind(1)
    values = {**scalars, **dict(zip(sums.names, columns, strict=True))}
    if "elements" in sums.needed:
        counts = torch.tensor([max(1, n) for n in elements], dtype=columns[0].dtype, device="cpu")
        values["elements"] = counts.to(columns[0].device, non_blocking=True)
    decided: Tensor = bound(sums.value)(*(values[name] for name in sums.needed))
    return decided
