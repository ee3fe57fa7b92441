"""The upper half of a float32, rounded stochastically; an infinity or NaN stays what it is."""

from adamantine.codecs.ops import bits, choose, low, number

HALF_WORD = 16

QUIET = 0x40
"""The bit that keeps a NaN from becoming infinity where its other bits are cut off."""


def decode_bfloat16(code):
    return number(low(low(code) << HALF_WORD))


def encode_bfloat16(value, random):
    given = bits(value)
    rounded = low(low(given + low(random >> 4)) >> HALF_WORD)
    return choose(value == value, rounded, low(low(given >> HALF_WORD) | QUIET))
