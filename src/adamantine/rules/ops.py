"""The elementwise functions a rule may use, on plain Python floats.

Written like this a rule is an ordinary function of numbers, which tests call directly.
Each backend replaces these names by its own (see :func:`adamantine.rules.rule.bind`).
"""

import math
import struct

Number = float


def sqrt(x: Number) -> Number:
    """Square root; NaN below zero, as on every backend."""
    return math.sqrt(x) if x >= 0 or math.isnan(x) else math.nan


def absolute(x: Number) -> Number:
    """Absolute value."""
    return math.fabs(x)


def signum(x: Number) -> Number:
    """1 above zero, -1 below, zero for zero, and NaN for NaN (for which torch's sign is zero)."""
    return math.copysign(1.0, x) if x > 0 or x < 0 else x


def maximum(x: Number, y: Number) -> Number:
    """The larger one; NaN where either is NaN, as ``torch.maximum``."""
    return x if x > y or math.isnan(x) else y


def as_bfloat16(x: Number) -> Number:
    """The bfloat16 nearest to x, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    if x != x or math.isinf(x):
        return x
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(struct.unpack("<f", struct.pack("<I", kept))[0])


def as_float16(x: Number) -> Number:
    """The float16 nearest to x, ties to even; infinity above 65504."""
    try:
        return float(struct.unpack("<e", struct.pack("<e", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def where(condition: Number, x: Number, y: Number) -> Number:
    """``x`` where the condition is not zero, ``y`` elsewhere; neither leaks into the other."""
    return x if condition else y
