"""What encoding and decoding take: each grid in the fastest loop that was found for it.

A block is decoded, changed, and encoded again, in the caches and by one thread. Each grid's two
functions say how a code becomes a number and how a scaled number becomes a code.
"""

# Numba takes signatures as they come; u() after every operation keeps integers 32 bits wide.

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from benchmarks.grids import dynamic

u, f = np.uint32, np.float32
OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
BLOCK = 256
MIX = f(0.001)


@intrinsic
def bits(typingctx, value):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


@intrinsic
def number(typingctx, value):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), codegen


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    return njit(inline="always", **OPTIONS)(function)


def float_grid(mantissa_bits: int, shifted: bool) -> tuple[Any, Any]:
    """Bits of a float32, cut off; the five or four bits of exponent follow from the eight."""
    exponent_bits = 8 - mantissa_bits - shifted
    cut = u(23 - mantissa_bits)
    smallest = u((128 - 2**exponent_bits) << 23)
    lowest, mask = smallest.view(f), u((1 << int(cut)) - 1)

    @inline
    def decode(code, table):
        return number(u(u(u(code) << cut) | smallest))

    @inline
    def encode(value, random, table):
        value = value if value > lowest else lowest
        return np.uint8(u(u(bits(value) + u(random & mask)) >> cut))

    @inline
    def decode_shifted(code, table):
        size = number(u(u(u(u(code) & u(127)) << cut) | smallest)) - lowest
        return number(u(bits(size) | u(u(u(code) & u(128)) << u(24))))

    @inline
    def encode_shifted(value, random, table):
        size = number(u(bits(value) & u(0x7FFFFFFF))) + lowest
        code = u(u(u(bits(size) + u(random & mask)) >> cut) & u(127))
        return np.uint8(u(code | u(u(bits(value) >> u(24)) & u(128))))

    return (decode_shifted, encode_shifted) if shifted else (decode, encode)


@inline
def decode_linear(code, table):
    return f(np.int32(code)) * f(1 / 255)


@inline
def encode_linear(value, random, table):
    return np.uint8(np.int32(value * f(255) + f(np.int32(random >> u(8))) * f(2.0**-24)))


@inline
def decode_square(code, table):
    root = f(np.int32(code)) * f(1 / 255)
    return root * root


@inline
def encode_square(value, random, table):
    low = f(np.int32(np.sqrt(value) * f(255)))
    rest = value * f(255.0**2) - low * low
    up = rest > (low + low + f(1)) * f(np.int32(random >> u(8))) * f(2.0**-24)
    return np.uint8(np.int32(low + (f(1) if up else f(0))))


@inline
def decode_fourth(code, table):
    root = f(np.int32(code)) * f(1 / 255)
    root = root * root
    return root * root


@inline
def encode_fourth(value, random, table):
    low = f(np.int32(np.sqrt(np.sqrt(value)) * f(255)))
    high = low + f(1)
    low4, high4 = low * low * low * low, high * high * high * high
    up = value * f(255.0**4) - low4 > (high4 - low4) * f(np.int32(random >> u(8))) * f(2.0**-24)
    return np.uint8(np.int32(high if up else low))


@inline
def decode_table(code, table):
    return table[code]


@inline
def _search(value, table):
    low = np.int32(0)
    for half in (128, 64, 32, 16, 8, 4, 2, 1):
        probe = np.int32(low + half)
        low = probe if table[probe] <= value else low
    return low


@inline
def encode_table(value, random, table):
    low = _search(value, table)
    high = min(low + 1, 255)
    rest, gap = value - table[low], table[high] - table[low]
    return np.uint8(high if rest > gap * f(np.int32(random >> u(8))) * f(2.0**-24) else low)


@inline
def encode_table_nearest(value, random, table):
    low = _search(value, table)
    high = min(low + 1, 255)
    return np.uint8(high if value - table[low] > table[high] - value else low)


CODECS: dict[str, tuple[Any, Any, int]] = {
    "E5M3": (*float_grid(3, shifted=False), 3),
    "E4M4": (*float_grid(4, shifted=False), 4),
    "E6M2": (*float_grid(2, shifted=False), 2),
    "E4M3, signed": (*float_grid(3, shifted=True), 3),
    "E3M4, signed": (*float_grid(4, shifted=True), 4),
    "linear": (decode_linear, encode_linear, 0),
    "power law 2": (decode_square, encode_square, 0),
    "power law 4": (decode_fourth, encode_fourth, 0),
    "dynamic": (decode_table, encode_table, 0),
    "dynamic, nearest": (decode_table, encode_table_nearest, 0),
}


def loop(decode: Any, encode: Any, mantissa_bits: int) -> Any:
    """A kernel that brings every element of all blocks a thousandth nearer to another number.

    The scale is a power of two for which the largest level is not exceeded: it has so many bits of
    mantissa, all ones, or is 1.
    """
    fits = np.int32((1 << (23 - mantissa_bits)) - 1)

    @njit(**OPTIONS)
    def kernel(codes, scales, towards, table, key):
        values = np.empty(BLOCK, np.float32)
        for block in range(len(scales)):
            start = block * BLOCK
            part, other = codes[start : start + BLOCK], towards[start : start + BLOCK]
            scale = scales[block]
            top = np.int32(0)
            for i in range(BLOCK):
                value = decode(part[i], table) * scale
                values[i] = value + MIX * (other[i] - value)
            for i in range(BLOCK):
                top = max(top, np.int32(bits(values[i]) & u(0x7FFFFFFF)))
            scale = number(u(u(top + fits) & u(0x7F800000)))
            scales[block], inverse = scale, f(1) / scale
            for i in range(BLOCK):
                h = u(u(u(u(start + i) * u(0x9E3779B1))) + key)
                part[i] = encode(values[i] * inverse, u(h ^ u(h >> u(15))), table)

    return kernel


def stepper(name: str, elements: int) -> Callable[[], float]:
    """A function that goes over all elements once and says how many ns each took."""
    kernel = loop(*CODECS[name])
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, elements, np.uint8)
    scales = np.ones(elements // BLOCK, np.float32)
    towards = random.random(elements, np.float32)
    table = dynamic(8, signed=False)
    kernel(codes, scales, towards, table, u(0))

    def step() -> float:
        repeats = 50
        start = perf_counter_ns()
        for turn in range(repeats):
            kernel(codes, scales, towards, table, u(turn))
        return (perf_counter_ns() - start) / (repeats * elements)

    return step
