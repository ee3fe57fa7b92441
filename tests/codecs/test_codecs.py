"""Codecs of one element against a brute-force one: the list of all values, and a coin."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine.codecs import bfloat16, blocks, int8, noise
from adamantine.codecs.ops import bits, number

RANDOM = st.integers(0, (1 << 20) - 1)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def exponent(top: float, margin: int) -> int:
    return blocks.exponent_of(bits(abs(top)), margin)


UNSIGNED = [int8.decode_unsigned(code, 1.0) for code in range(256)]
SIGNED = [int8.decode_signed(code, 1.0) for code in range(128)]


def test_the_grids_are_what_the_docstring_says() -> None:
    floats = [2.0**e * (1 + m / 8) for e in range(-31, 1) for m in range(8)]
    assert floats == UNSIGNED
    shifted = [2.0**e * (1 + m / 8) - 2.0**-15 for e in range(-15, 1) for m in range(8)]
    assert shifted == SIGNED
    assert SIGNED[0] == 0
    assert [-x for x in SIGNED] == [int8.decode_signed(code | 0x80, 1.0) for code in range(128)]


def rounded(x: Fraction, grid: list[float], chance: Fraction) -> float:
    """The neighbour above with the probability that makes `x` the mean."""
    above = bisect.bisect_right(grid, x)
    if above == 0:
        return grid[0]
    if above == len(grid):
        return grid[-1]
    low, high = Fraction(grid[above - 1]), Fraction(grid[above])
    return float(high if (x - low) / (high - low) + chance >= 1 else low)


@given(FLOATS.map(abs), FLOATS.map(abs), RANDOM)
def test_unsigned_agrees_with_brute_force(x: float, other: float, random: int) -> None:
    e = exponent(max(x, other), int8.UNSIGNED_MARGIN)
    if e in (0, 255):
        return
    scale, inverse = blocks.scale_of(e), blocks.inverse_of(e)
    code = int8.encode_unsigned(number(bits(x)), inverse, random)
    # What is too small for float32 after scaling is far below the smallest code anyway.
    expected = rounded(Fraction(x) / Fraction(scale), UNSIGNED, Fraction(random, 1 << 20))
    assert UNSIGNED[code] == expected


@given(FLOATS, FLOATS, RANDOM)
def test_signed_agrees_with_brute_force(x: float, other: float, random: int) -> None:
    e = exponent(max(abs(x), abs(other)), int8.SIGNED_MARGIN)
    if e in (0, 255):
        return
    code = int8.encode_signed(number(bits(x)), blocks.inverse_of(e), random)
    # The sum with the offset is rounded to float32 before the coin is thrown.
    shifted = number(bits(abs(x) * blocks.inverse_of(e) + 2.0**-15))
    exact = Fraction(shifted) - Fraction(1, 1 << 15)
    assert SIGNED[code & 0x7F] == rounded(exact, SIGNED, Fraction(random, 1 << 20))
    assert bool(code & 0x80) == (math.copysign(1, x) < 0)


@given(FLOATS)
def test_nothing_is_cut_off_at_the_top(top: float) -> None:
    """Every element of a block can be rounded up: its largest one has a code above it."""
    for margin, grid in ((int8.UNSIGNED_MARGIN, UNSIGNED), (int8.SIGNED_MARGIN, SIGNED)):
        e = exponent(top, margin)
        if e < 255:
            assert Fraction(abs(top)) <= Fraction(grid[-1]) * Fraction(blocks.scale_of(e))
            assert e == 0 or Fraction(abs(top)) * 5 > Fraction(blocks.scale_of(e)) * 4 or e == 1


def test_exponents_of_the_extremes() -> None:
    for margin in (int8.UNSIGNED_MARGIN, int8.SIGNED_MARGIN):
        assert exponent(0.0, margin) == 0
        assert exponent(1e-45, margin) == 1
        assert exponent(2.0**-126, margin) == 1
        assert exponent(1.8 * 2.0**127, margin) == 254
        assert exponent(1.9 * 2.0**127, margin) == 255
        assert exponent(math.inf, margin) == 255
        for nan in (0x7FC00000, 0x7F800001, 0x7FFFFFFF):
            assert blocks.exponent_of(nan, margin) == 255


@pytest.mark.parametrize("e", range(1, 255))
def test_the_scale_and_its_inverse(e: int) -> None:
    assert blocks.scale_of(e) == 2.0 ** (e - 127)
    assert blocks.inverse_of(e) == 2.0 ** (127 - e)


@given(st.integers(0, 255), st.integers(1, 254), RANDOM)
def test_values_on_the_grid_stay(code: int, e: int, random: int) -> None:
    scale, inverse = blocks.scale_of(e), blocks.inverse_of(e)
    value = number(bits(int8.decode_unsigned(code, scale)))
    if abs(value) >= 2.0**-126:
        assert int8.encode_unsigned(value, inverse, random) == code
        # Also after the block's largest element has fallen or risen by a power of two.
        assert (code < 8) or int8.encode_unsigned(value, inverse / 2, random) == code - 8


@given(FLOATS, RANDOM)
def test_bfloat16_agrees_with_brute_force(x: float, random: int) -> None:
    given_bits = bits(x)
    low, high = given_bits & 0xFFFF0000, (given_bits & 0xFFFF0000) + 0x10000
    up = (given_bits & 0xFFFF) + (random >> 4) >= 1 << 16
    code = bfloat16.encode_bfloat16(number(given_bits), random)
    assert code << 16 == (high if up else low)
    assert bits(bfloat16.decode_bfloat16(code)) == code << 16


@pytest.mark.parametrize("random", [0, 0xFFFFF])
def test_bfloat16_keeps_what_is_no_number(random: int) -> None:
    for x in (math.inf, -math.inf):
        assert bfloat16.decode_bfloat16(bfloat16.encode_bfloat16(x, random)) == x
    assert math.isnan(bfloat16.decode_bfloat16(bfloat16.encode_bfloat16(math.nan, random)))
    # Python's floats do not keep a NaN's last bits: the last one is tested in compiled code.


def mean_over_all(encode: Callable[[int], float], step: int) -> Fraction:
    values = [Fraction(encode(random)) for random in range(step // 2, 1 << 20, step)]
    return sum(values, Fraction(0)) / len(values)


@pytest.mark.parametrize("x", [1.01, 0.3, 0.77e-3, 1.3e-7, 4.8e-10])
def test_the_mean_of_all_roundings_is_the_value(x: float) -> None:
    x, step = number(bits(x)), 256
    e = exponent(1.0, int8.UNSIGNED_MARGIN)
    scale, inverse = blocks.scale_of(e), blocks.inverse_of(e)
    unsigned = mean_over_all(
        lambda r: int8.decode_unsigned(int8.encode_unsigned(x, inverse, r), scale), step
    )
    assert float(unsigned) == pytest.approx(x, rel=1 / 8 / 4096)
    signed = mean_over_all(
        lambda r: int8.decode_signed(int8.encode_signed(-x, inverse, r), scale), step
    )
    # Near zero a code is from the next what the offset is divided by eight.
    assert float(-signed) == pytest.approx(x, rel=1 / 8 / 4096, abs=2.0**-18 / 4096)


def test_keys_differ_in_every_part() -> None:
    keys = {
        noise.key_of(noise.stream(seed, tensor), step)
        for seed in (0, 1, 2**40, 2**63 - 1)
        for tensor in range(20)
        for step in range(1, 50)
    }
    assert len(keys) == 4 * 20 * 49


def test_an_elements_bits_are_even_over_steps() -> None:
    """Chi-squared over 16 bins of the upper bits, for some elements; 15 degrees of freedom."""
    stream = noise.stream(0, 3)
    for consumer in range(noise.CONSUMERS):
        taken = noise.second if consumer % 2 else noise.first
        for index in (0, 1, 1000, 2**32 + 5):
            counts = [0] * 16
            for step in range(1, 3201):
                h = noise.bits_at(
                    noise.key_of(stream, step), index, noise.MULTIPLIERS[consumer // 2]
                )
                counts[taken(h) >> 16] += 1
            assert sum((c - 200) ** 2 / 200 for c in counts) < 45, (consumer, index, counts)


def test_following_bits_are_those_of_the_next_element() -> None:
    for multiplier in noise.MULTIPLIERS:
        h = noise.bits_at(12345, 2**32 - 3, multiplier)
        for index in range(2**32 - 2, 2**32 + 3):
            h = noise.following(h, multiplier)
            assert h == noise.bits_at(12345, index, multiplier)
