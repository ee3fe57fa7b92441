"""24 bits in a bfloat16 and a byte, against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from adamantine.codecs.bits24 import joined, offset_beside, offset_of, upper_of
from adamantine.codecs.ops import bits, number

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
BYTES = st.integers(-128, 127)
UPPERS = st.integers(0, 0xFFFF).map(lambda half: number(half << 16))
LARGEST = number(0x7F7F0000)
SUBNORMAL = 2.0**-126


def digit(x: float, mantissa: int) -> Fraction:
    """The last digit of a number like `x` with so many bits of mantissa."""
    exponent = max(math.frexp(x)[1] - 1, -126) if x else -126
    return Fraction(2) ** (exponent - mantissa)


def nearest(x: float, mantissa: int) -> Fraction:
    """Ties to even."""
    unit = digit(x, mantissa)
    return round(Fraction(x) / unit) * unit


@given(FLOATS)
@example(0.0)
@example(-0.0)
@example(2.0**-149)  # the smallest of all
@example(number(0x007FFFFF))  # the largest subnormal one
@example(number(0x3F808000))  # between two bfloat16s
@example(number(0x3F818000))
@example(number(0x3F807F80))  # between two that are a tie of bfloat16s and a neighbour
@example(number(0x3FFFFFFF))  # up to the next power of two
@example(LARGEST)
@example(number(0x7F7FFFFF))
def test_what_is_kept_is_the_nearest_of_24_bits(x: float) -> None:
    upper, offset = upper_of(x), offset_of(x)
    assert bits(upper) & 0xFFFF == 0
    assert -128 <= offset <= 127
    found = joined(upper, offset)
    assert math.copysign(1, found) == math.copysign(1, upper) == math.copysign(1, x)
    if abs(nearest(x, 15)) >= Fraction(LARGEST) + digit(LARGEST, 8):
        assert abs(upper) == math.inf == abs(found)
        return
    assert Fraction(found) == nearest(x, 15)
    assert abs(found - x) <= max(2.0**-16 * abs(x), 2.0**-142)
    # The bfloat16 alone is the nearest one; a tie goes to the larger magnitude.
    away = (Fraction(upper) - Fraction(found)) * (1 if x >= 0 else -1)
    assert -digit(found, 8) < away <= digit(found, 8)


@given(UPPERS, BYTES)
@example(0.0, -1)
@example(-0.0, -128)
@example(math.inf, 5)
@example(-math.inf, -5)
@example(math.nan, 127)
@example(LARGEST, 127)
@example(number(0x3F800000), -128)  # down into the next binade
def test_a_bfloat16_that_was_changed_is_moved_by_half_a_digit_at_most(
    upper: float, offset: int
) -> None:
    found = joined(upper, offset)
    if not math.isfinite(upper):
        assert found == upper or (math.isnan(found) and math.isnan(upper))
        return
    assert abs(Fraction(found) - Fraction(upper)) <= digit(upper, 8)
    assert math.copysign(1, found) == math.copysign(1, upper)
    assert upper != 0 or offset >= 0 or found == 0
    # And from there on the two are what they should be.
    again = joined(upper_of(found), offset_of(found))
    assert bits(again) == bits(found)


@given(FLOATS)
def test_a_pair_is_read_as_it_was_written(x: float) -> None:
    upper, offset = upper_of(x), offset_of(x)
    if math.isfinite(upper):
        found = joined(upper, offset)
        assert (upper_of(found), offset_of(found)) == (upper, offset)
        assert offset_beside(found, upper) == offset


def test_infinities_and_nans_stay_what_they_are() -> None:
    for x in (math.inf, -math.inf, math.nan, number(0x7F800001), number(0xFFFFFFFF)):
        found = joined(upper_of(x), offset_of(x))
        assert found == x or (math.isnan(found) and math.isnan(x))


@given(UPPERS, st.integers(-3 << 15, 3 << 15))
@example(1.0, 1 << 15)
@example(1.0, -(1 << 15))
@example(1.0, (1 << 15) + 1)
@example(0.0, 5000)
def test_the_byte_beside_a_given_bfloat16_brings_it_as_close_as_it_can(
    upper: float, away: int
) -> None:
    """`away` in the last digits of a float32."""
    magnitude = (bits(upper) & 0x7FFFFFFF) + away
    if not math.isfinite(upper) or not 0 <= magnitude < 0x7F800000:
        return
    x = math.copysign(number(magnitude), upper)
    found = joined(upper, offset_beside(x, upper))
    if abs(away) <= 1 << 15:
        # Of a float32's digits, half of the last one that is kept; a tie upwards loses all of it.
        assert abs((bits(found) & 0x7FFFFFFF) - magnitude) <= (1 << 7 if away < 0x7F80 else 1 << 8)
    elif abs(away) > (1 << 15) + (1 << 7):
        assert found == upper
    opposite = joined(-upper, offset_beside(x, -upper))
    assert opposite == -upper or upper == 0


def test_a_tie_that_torch_rounds_to_even_loses_one_digit_of_24_bits() -> None:
    x, even = number(0x3F808000), 1.0
    assert upper_of(x) == 1 + 2.0**-7
    assert offset_beside(x, even) == 127
    assert joined(even, 127) == x - 2.0**-15
    assert offset_beside(-x, even) == 0
