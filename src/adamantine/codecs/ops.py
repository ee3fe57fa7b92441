"""The operations that codecs use beside ``+ - * << >> & | ^`` and comparisons, on plain numbers.

Compiled integer arithmetic grows to 64 bits by itself; `low` says where it ends.
"""

import struct


def bits(x: float) -> int:
    """The 32 bits of a float32, as an unsigned integer."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def number(i: int) -> float:
    """The float32 of 32 bits."""
    return float(struct.unpack("<f", struct.pack("<I", i))[0])


def low(i: int) -> int:
    """The lower 32 bits, unsigned."""
    return int(i) & 0xFFFFFFFF


def choose(condition: bool, x: float, y: float) -> float:
    """``x`` where the condition holds, ``y`` elsewhere."""
    return x if condition else y
