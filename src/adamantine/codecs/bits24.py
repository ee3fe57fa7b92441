"""24 bits of a float32 in a bfloat16, its upper 16 rounded to nearest, and a byte.

The byte is how far the number is from the bfloat16, in 256ths of that one's last digit, from -128
to 127. So the bfloat16 alone is the nearest one to the number (of two at the same distance, that
of the larger magnitude), and the number is within 2^-16 of the float32 that it was made of. Beside
a bfloat16 that has become another one in the meantime the byte moves it by half a digit at most.

What the byte could spoil stands alone: an infinity or NaN is what it is, and nothing is taken from
zero. A magnitude that rounds to an infinite bfloat16 is infinite.
"""

from adamantine.codecs.ops import bits, choose, low, number

BYTE = 8

SIGN, MAGNITUDE, INFINITE = 0x80000000, 0x7FFFFFFF, 0x7F800000

HALF, BELOW_HALF = 0x80, 0x7F
"""Of 256."""


def joined(upper, offset):
    """The number of a bfloat16 and its byte."""
    given = bits(upper)
    magnitude = low(given & MAGNITUDE)
    moved = low(magnitude + low(low(offset) << BYTE))
    alone = (moved > MAGNITUDE) | (magnitude >= INFINITE)  # the first where it is below zero
    return choose(alone, upper, number(low(moved | low(given & SIGN))))


def nearest24(value):
    """The 24 bits without the sign, to nearest, ties to even."""
    magnitude = low(bits(value) & MAGNITUDE)
    even = low(low(magnitude >> BYTE) & 1)
    return low(low(low(magnitude + even) + BELOW_HALF) >> BYTE)


def upper_of(value):
    """The number's bfloat16."""
    rounded = low(low(low(nearest24(value) + HALF) >> BYTE) << 2 * BYTE)
    return choose(value == value, number(low(rounded | low(bits(value) & SIGN))), value)


def offset_of(value):
    """Its byte."""
    return low(low(nearest24(value) & 0xFF) ^ HALF) - HALF


def offset_beside(value, upper):
    """The byte that brings `upper` closest to `value`; 0 where it cannot come so far."""
    whole = low(bits(upper) & MAGNITUDE) >> BYTE
    away = nearest24(value) - whole
    alike = low(bits(value) ^ bits(upper)) < SIGN
    return choose(alike & (abs(away) <= HALF), choose(away == HALF, BELOW_HALF, away), 0)
