"""A parameter of 16 bits with a master: the number of more bits that the rule is run on.

Micikevicius et al., "Mixed Precision Training", 2018, section 3.1, with the master in float32; the
parameter is that rounded to nearest. Where it is so no longer, somebody else has written to the
parameter, and the number is what they wrote::

    x = master where p = master rounded, else p
    x_t = the rule's new x
    p_t = x_t rounded, master_t = x_t

In 24 bits the master is the parameter with a byte beside it (:mod:`adamantine.codecs.bits24`).
"""

from functools import cache

from adamantine.codecs.bits24 import joined, offset_of, upper_of
from adamantine.rules.ops import as_bfloat16, as_float16, where
from adamantine.rules.paired import MASTER, paired
from adamantine.rules.rule import Rule


def _of_bfloat16(param, master):
    return where(as_bfloat16(master) == param, master, param)


def _of_float16(param, master):
    return where(as_float16(master) == param, master, param)


def _itself(x):
    return x


FLOAT32 = {"bfloat16": _of_bfloat16, "float16": _of_float16}


@cache
def mastered(rule: Rule, master: str, dtype: str) -> Rule:
    """`rule` for a parameter in `dtype` with a `master`.

    ``"float32"`` is for ``"bfloat16"`` and ``"float16"``, ``"24bit"`` for ``"bfloat16"``.
    """
    if master == "24bit":
        return paired(rule, MASTER, "master_24bit", joined, (upper_of, offset_of))
    return paired(rule, MASTER, f"master_{dtype}", FLOAT32[dtype], (_itself, _itself))
