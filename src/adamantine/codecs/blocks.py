"""Blocks of elements, in the order of memory, that share a scale.

The scale is a power of two, so scaling rounds nothing, and codes of small floats stay on their grid
when it changes from one step to the next. It is kept as the exponent of a float32, in a byte: 0
says that the whole block is zero, and 255 that it holds an infinity or a NaN, which makes all of it
NaN. A magnitude above 1.875 × 2^127, at the end of float32, counts as infinite.
"""

from adamantine.codecs.ops import low, number

BLOCK = 256

EXPONENT = 23
"""Where the exponent of a float32 begins."""

INFINITE = 255

HALF = 0x3F000000


def exponent_of(top, margin):
    """The exponent for a block whose largest magnitude has the bits `top`.

    The largest element has to fit after it was rounded up, or the mean of its roundings would be
    too small: from `margin` below the next power of two on, that one is taken.
    """
    found = low(low(top + margin) >> EXPONENT)
    # The smallest exponent of a normal float32 does for subnormal ones, and a NaN's bits may carry.
    return low(low(found + low(low(top > 0) & low(found == 0))) - low(found > INFINITE))


def scale_of(exponent):
    scale = number(low(low(exponent) << EXPONENT))
    return (scale - scale) + scale  # NaN for infinity


def inverse_of(exponent):
    """One over the scale; for a block of zeros, any number will do."""
    # In two factors, for 1 / 2^127 is subnormal.
    divided = low(low(255 - low(exponent + low(exponent == 0))) << EXPONENT)
    return number(divided) * number(HALF)
