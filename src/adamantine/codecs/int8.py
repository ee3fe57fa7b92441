"""One byte an element: small floats, times the scale of their block.

Unsigned, for averages of squares: five bits of exponent and three of mantissa, from 2^-31 to 1.875.
There is no zero, for what is divided by must not vanish while the momentum above it has not; a
value below the smallest code is kept at it, and only a block of zeros decodes to zero.

Signed, for averages of gradients: a sign, and four bits of exponent and three of mantissa of the
magnitude plus 2^-15. That offset makes zero a code, with a linear stretch around it.

Rounding is stochastic: on a grid whose codes are the upper bits of a float, that is to add random
bits below and cut. A value's roundings have the value as their mean, so that an average which moves
by a thousandth a step, a hundredth of what one code is from the next, arrives where it should.
"""

from adamantine.codecs.ops import bits, choose, low, number

MANTISSA = 20
"""Bits of a float32's mantissa below those that a code has."""

STEP = 1 << MANTISSA

SMALLEST = 0x30000000
"""The bits of 2^-31, and of nothing that a code is added to."""

UNSIGNED_MARGIN = STEP - 1

OFFSET = 0x38000000
"""The bits of 2^-15."""

SIGNED_MARGIN = STEP + (1 << 8) - 1
"""For the offset, too: it is 2^8 units in the last place of the largest magnitudes."""

MAGNITUDE, SIGN = 0x7FFFFFFF, 0x80000000


def decode_unsigned(code, scale):
    return number(low(low(low(code) << MANTISSA) | SMALLEST)) * scale


def encode_unsigned(value, inverse, random):
    scaled = value * inverse
    kept = choose(scaled > number(SMALLEST), scaled, number(SMALLEST))
    return low(low(low(bits(kept) + random) >> MANTISSA) & 0xFF)


def decode_signed(code, scale):
    code = low(code)
    shifted = number(low(low(low(code << MANTISSA) & 0x07F00000) | OFFSET))
    magnitude = shifted * scale - number(OFFSET) * scale
    return number(low(bits(magnitude) | low(low(code << 24) & SIGN)))


def encode_signed(value, inverse, random):
    given = bits(value)
    shifted = number(low(given & MAGNITUDE)) * inverse + number(OFFSET)
    code = low(low(bits(shifted) + random) >> MANTISSA)
    return low(low(code & 0x7F) | low(low(given >> 24) & 0x80))
