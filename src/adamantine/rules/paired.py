"""A parameter that is kept in two tensors: a rule around a rule.

The 16 bits that the model sees, and a state with what these cannot hold. Together they are one
number; the rule is run on that, and what it returns is parted again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter, signature
from types import FunctionType
from typing import Any

from adamantine.rules.rule import Rule

COMPENSATION, MASTER = "compensation", "master"
SECONDS = COMPENSATION, MASTER
"""The names of such states. Both are right with zeros in them: the number is the parameter's."""

# Set for each rule by `paired`.
INNER: Any = None
STATES: int = 0
AFTER: int = 1
joined: Any = None
upper: Any = None
lower: Any = None


def _update(param, grad, *others):
    results = INNER(joined(param, others[STATES]), grad, *(others[:STATES] + others[AFTER:]))
    return (upper(results[0]),) + results[1:] + (lower(results[0]),)  # noqa: RUF005 - for Numba


def _summed(param, *others):
    return INNER(joined(param, others[STATES]), *(others[:STATES] + others[AFTER:]))


def paired(
    rule: Rule,
    second: str,
    kind: str,
    join: Callable[..., Any],
    part: tuple[Callable[..., Any], Callable[..., Any]],
) -> Rule:
    """`rule` for a parameter beside which the state `second` holds the rest.

    Parameters
    ----------
    rule, second
        The rule, and the name of a state that it does not have.
    kind
        Begins the new rule's name.
    join
        ``(parameter, rest)`` to the number.
    part
        The number to the parameter, and to the rest.
    """
    scope = {**globals(), "joined": join, "upper": part[0], "lower": part[1]}
    others = len(rule.tensors) - 2
    update = _around(rule.update, _update, others, rule.tensors, second, kind, scope)
    sums = rule.sums
    if sums is not None and "param" in sums.arguments:
        tensors = tuple(name for name in sums.arguments if name in rule.tensors)
        of = _around(sums.of, _summed, len(tensors) - 1, tensors, second, kind, scope)
        sums = replace(sums, of=of)
    return replace(rule, update=update, states=(*rule.states, second), sums=sums, joined=join)


def _around(
    inner: Callable[..., Any],
    template: Any,
    others: int,
    tensors: tuple[str, ...],
    second: str,
    kind: str,
    scope: dict[str, Any],
) -> Callable[..., Any]:
    """`template` around `inner`, which has so many tensors beside those that the template names."""
    scope = {**scope, "INNER": inner, "STATES": others, "AFTER": others + 1}
    made = FunctionType(template.__code__, scope, f"{kind}_{inner.__name__}")
    of_inner = signature(inner)
    ordered = list(of_inner.parameters.values())
    ordered.insert(len(tensors), Parameter(second, Parameter.POSITIONAL_OR_KEYWORD))
    made.__signature__ = of_inner.replace(parameters=ordered)  # type: ignore[attr-defined]
    return made
