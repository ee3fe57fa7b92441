"""Grids for optimizer states in 8 and in 4 bits, as tables of what their codes stand for.

A table, a scale for each block and a way of rounding are all that accuracy depends on, so one
slow loop simulates every format. How fast each can be made is another question (`grid_speed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """What the codes of one state stand for.

    Parameters
    ----------
    levels
        All values, ascending, relative to the block's scale.
    power
        Whether the scale is a power of two, the smallest for which nothing is clipped; else the
        largest magnitude of a block is the largest level.
    stochastic
        Round to one of the two neighbours so that the mean is right, or to the nearest.
    block
        Elements that share a scale.
    """

    levels: Floats
    power: bool = True
    stochastic: bool = True
    block: int = 256

    def rewrite(self, values: Floats, key: int) -> float:
        """Encode and decode in place; returns the share of values at the lowest level."""
        lowest = _rewrite(
            values,
            self.levels,
            _index(self.levels.tobytes()),
            self.block,
            self.power,
            self.stochastic,
            np.uint32(key),
        )
        return float(lowest / len(values))


@njit(cache=True)
def _rewrite(values, levels, index, block, power, stochastic, key):
    one, signed = np.float32(1), levels[0] < 0
    smallest, largest, last = levels[0], levels[-1], len(levels) - 1
    words = values.view(np.uint32)
    lowest = 0
    for start in range(0, len(values), block):
        stop = min(start + block, len(values))
        top = np.float32(0)
        for i in range(start, stop):
            top = max(top, abs(values[i]))
        if top == 0:
            continue
        scale = top / largest
        if power:
            scale = np.float32(2.0 ** np.ceil(np.log2(scale)))
        inverse = one / scale
        for i in range(start, stop):
            value = values[i] = min(max(values[i] * inverse, smallest), largest)
            low = index[words[i] >> 16]
            while low < last and levels[low + 1] <= value:
                low += 1
            below, above = levels[low], levels[min(low + 1, last)]
            chance = _random(i, key, signed) if stochastic else np.float32(0.5)
            up = value - below + chance * (above - below) >= above - below
            values[i] = scale * (above if up else below)
            lowest += low == 0 and not up
    return lowest


@cache
def _index(levels: bytes) -> NDArray[np.int32]:
    """For the upper half of a float32's bits, the last level below all that begin so."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    upper[2**15 :] |= 0xFFFF  # of negative numbers the smallest is the one with the most bits
    with np.errstate(invalid="ignore"):
        found = np.searchsorted(np.frombuffer(levels, np.float32), upper.view(np.float32), "right")
    return np.maximum(found - 1, 0).astype(np.int32)


@njit(cache=True, inline="always")
def _random(element, key, signed):
    """As `adamantine.codecs.noise`, and one shift more: 20 of 32 bits for each of two states."""
    bits = (element * 0x9E3779B1 + key) & 0xFFFFFFFF
    bits ^= bits >> 15
    bits = (bits & 0xFFFFF) if signed else (bits >> 12)
    return np.float32(bits) * np.float32(2.0**-20)


def key(seed: int, step: int) -> int:
    """A well mixed 32-bit number (the finalizer of splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> shift)) * factor % 2**64
    return (mixed ^ (mixed >> 31)) % 2**32


def floats(exponent_bits: int, mantissa_bits: int) -> Floats:
    """Small floats without zero: the largest binade is [1, 2)."""
    mantissas = 1 + np.arange(2**mantissa_bits) / 2**mantissa_bits
    exponents = np.arange(1 - 2**exponent_bits, 1)
    return _table(np.ldexp(mantissas, exponents[:, None]))


def shifted_floats(exponent_bits: int, mantissa_bits: int) -> Floats:
    """Small floats moved down by the smallest, so that it becomes zero, with a sign."""
    magnitudes = floats(exponent_bits, mantissa_bits).astype(np.float64)
    return mirrored(magnitudes - magnitudes[0])


def mirrored(magnitudes: Sequence[float] | NDArray[np.float64]) -> Floats:
    """With a sign; zero's two codes are one level."""
    return _table(np.concatenate([np.negative(magnitudes), magnitudes]))


def power_law(power: int, bits: int = 8, signed: bool = False) -> Floats:
    """(code / largest code) ** power."""
    codes = 2 ** (bits - signed)
    magnitudes = np.linspace(0, 1, codes) ** power
    return mirrored(magnitudes) if signed else _table(magnitudes)


def dynamic(bits: int, signed: bool) -> Floats:
    """Dynamic tree quantization: as many leading zeros as decades, the other bits a fraction.

    Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", 2016; Dettmers et al.,
    "8-bit Optimizers via Block-wise Quantization", 2022, section 1.3 and figure 2. The fraction
    divides [0.1, 1] evenly and stands for the middles of its parts; 0 and 1 have codes of their
    own. An unsigned number has the sign's bit for one more bit of fraction.
    """
    decades = bits - 1
    magnitudes: list[float] = []
    for decade in range(decades):
        edges = np.linspace(0.1, 1, 2 ** (decade + (not signed)) + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        magnitudes += list(middles * 10.0 ** (decade - decades + 1))
    negative = [-magnitude for magnitude in magnitudes] if signed else []
    return _table([*negative, *magnitudes, 0, 1])


def linear_without_zero(bits: int) -> Floats:
    """Li et al., "Memory Efficient Optimizers with 4-bit States", 2023, section 4.1."""
    return _table(np.linspace(0, 1, 2**bits + 1)[1:])


def _table(levels: Sequence[float] | NDArray[np.float64]) -> Floats:
    return np.unique(np.asarray(levels, np.float64).ravel()).astype(np.float32)
