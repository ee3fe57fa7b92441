"""A parameter of 16 bits with a second one for what the first cannot hold.

Kahan, "Further Remarks on Reducing Truncation Errors", Communications of the ACM 8 (1965), as
Zamirai et al., "Revisiting BFloat16 Training", 2020, Algorithm 1, use it in an optimizer. Written
without the running sum's history::

    x = p + c
    x_t = the rule's new x
    p_t = x_t rounded, c_t = x_t - p_t rounded

The two together have twice the digits, so that updates add up that each alone would be lost in p.
"""

from dataclasses import replace
from functools import cache
from inspect import signature
from types import FunctionType
from typing import Any

from adamantine.rules.ops import as_bfloat16, as_float16
from adamantine.rules.rule import Rule

COMPENSATION = "compensation"
"""The state's name."""

# Set for each rule by `compensated`.
INNER: Any = None
STATES: int = 0
AFTER: int = 1


def _to_bfloat16(x):
    return as_bfloat16(x)


def _to_float16(x):
    return as_float16(x)


ROUNDING = {"bfloat16": _to_bfloat16, "float16": _to_float16}
rounded = _to_bfloat16


def _update(param, grad, *others):
    results = INNER(param + others[STATES], grad, *(others[:STATES] + others[AFTER:]))
    stored = rounded(results[0])
    return (stored,) + results[1:] + (results[0] - stored,)  # noqa: RUF005 - for Numba


@cache
def compensated(rule: Rule, dtype: str) -> Rule:
    """`rule` for a parameter that is kept in `dtype`, ``"bfloat16"`` or ``"float16"``."""
    scope = {
        **globals(),
        "INNER": rule.update,
        "STATES": len(rule.states),
        "AFTER": len(rule.states) + 1,
        "rounded": ROUNDING[dtype],
    }
    states = (*rule.states, COMPENSATION)
    update = FunctionType(_update.__code__, scope, f"compensated_{dtype}_{rule.name}")
    of_inner = signature(rule.update)
    parameters = dict(of_inner.parameters)
    extra = parameters["grad"].replace(name=COMPENSATION)
    ordered = [parameters[name] for name in rule.tensors] + [extra]
    ordered += [parameters[name] for name in rule.scalars]
    update.__signature__ = of_inner.replace(parameters=ordered)  # type: ignore[attr-defined]
    return replace(rule, update=update, states=states)
