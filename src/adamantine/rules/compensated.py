"""A parameter of 16 bits with a second one for what the first cannot hold.

Kahan, "Further Remarks on Reducing Truncation Errors", Communications of the ACM 8 (1965), as
Zamirai et al., "Revisiting BFloat16 Training", 2020, Algorithm 1, use it in an optimizer. Written
without the running sum's history::

    x = p + c
    x_t = the rule's new x
    p_t = x_t rounded, c_t = x_t - p_t rounded

The two together have twice the digits, so that updates add up that each alone would be lost in p.
"""

from functools import cache

from adamantine.rules.ops import as_bfloat16, as_float16
from adamantine.rules.paired import COMPENSATION, paired
from adamantine.rules.rule import Rule


def to_bfloat16(x):
    return as_bfloat16(x)


def to_float16(x):
    return as_float16(x)


def _sum(param, rest):
    return param + rest


def _rest_of_bfloat16(x):
    return x - as_bfloat16(x)


def _rest_of_float16(x):
    return x - as_float16(x)


ROUNDING = {"bfloat16": to_bfloat16, "float16": to_float16}
_RESTS = {"bfloat16": _rest_of_bfloat16, "float16": _rest_of_float16}


@cache
def compensated(rule: Rule, dtype: str) -> Rule:
    """`rule` for a parameter that is kept in `dtype`, ``"bfloat16"`` or ``"float16"``."""
    part = ROUNDING[dtype], _RESTS[dtype]
    return paired(rule, COMPENSATION, f"compensated_{dtype}", _sum, part)
