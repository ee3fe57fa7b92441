"""Formats inside of kernels: elements opened for a rule, and closed after it."""

from __future__ import annotations

import triton.language as tl

from adamantine.backends.formats import Format
from adamantine.backends.gpu.kernel.memory import BLOCK, BLOCKS, places_in_tile
from adamantine.backends.gpu.kernel.operations import (
    bits,
    bound,
    jit,
    low,
    to_bfloat16,
    widened,
)
from adamantine.codecs import bfloat16, int8, noise
from adamantine.codecs.blocks import exponent_of, inverse_of, scale_of

PLAIN, STOCHASTIC, SIGNED, UNSIGNED = range(4)
"""How numbers become elements: rounded to nearest, a bfloat16 rounded stochastically, codes."""

_STOCHASTIC, _SIGNED, _UNSIGNED = map(tl.constexpr, (STOCHASTIC, SIGNED, UNSIGNED))


def codec_of(kept: Format) -> int:
    """Which of the four a format is."""
    if kept.coded:
        return SIGNED if kept.signed else UNSIGNED
    return STOCHASTIC if kept.stochastic else PLAIN


_MULTIPLIERS = tl.constexpr(noise.MULTIPLIERS)
_SIGNED_MARGIN = tl.constexpr(int8.SIGNED_MARGIN)
_UNSIGNED_MARGIN = tl.constexpr(int8.UNSIGNED_MARGIN)
_MAGNITUDE = tl.constexpr(int8.MAGNITUDE)

_scale_of, _inverse_of = bound(scale_of), bound(inverse_of)
_exponent_of = bound(exponent_of)
_bits_at, _first, _second = bound(noise.bits_at), bound(noise.first), bound(noise.second)
_decode_bfloat16 = bound(bfloat16.decode_bfloat16)
_encode_bfloat16 = bound(bfloat16.encode_bfloat16)
_decode_signed, _encode_signed = bound(int8.decode_signed), bound(int8.encode_signed)
_decode_unsigned, _encode_unsigned = bound(int8.decode_unsigned), bound(int8.encode_unsigned)


@jit
def opened(elements, exponents, start, left, CODEC: tl.constexpr, COMPUTE: tl.constexpr):
    """A tile of elements as numbers to compute with; `exponents` points to those of its codes."""
    if CODEC == _SIGNED:
        values = _decode_signed(elements, _scale_of(_load_exponents(exponents, start, left)))
    elif CODEC == _UNSIGNED:
        values = _decode_unsigned(elements, _scale_of(_load_exponents(exponents, start, left)))
    elif CODEC == _STOCHASTIC:
        values = _decode_bfloat16(elements)
    else:
        values = widened(elements)
    return values.to(COMPUTE)


@jit
def closed(
    values, exponents, start, left, key, place,
    CODEC: tl.constexpr, ELEMENT: tl.constexpr, CONSUMER: tl.constexpr,
):  # fmt: skip
    """A tile of numbers as elements; the exponents of codes are written.

    `key` is that of the tensor's step, `place` that of the tile's first element, and `CONSUMER`
    says which of an element's random bits are taken.
    """
    if CODEC == _SIGNED:
        found = _exponents_of(values, left, _SIGNED_MARGIN)
        _store_exponents(exponents, start, left, found)
        random = _random(key, place, CONSUMER)
        elements = _encode_signed(values.to(tl.float32), _inverse_of(found), random)
    elif CODEC == _UNSIGNED:
        found = _exponents_of(values, left, _UNSIGNED_MARGIN)
        _store_exponents(exponents, start, left, found)
        random = _random(key, place, CONSUMER)
        elements = _encode_unsigned(values.to(tl.float32), _inverse_of(found), random)
    elif CODEC == _STOCHASTIC:
        elements = _encode_bfloat16(values.to(tl.float32), _random(key, place, CONSUMER))
    elif tl.bfloat16 == ELEMENT:
        elements = to_bfloat16(values.to(tl.float32))
    else:
        elements = values
    return elements.to(ELEMENT)


@jit
def _random(key, place, CONSUMER: tl.constexpr):
    """Twenty random bits for each element of a tile."""
    of_element = _bits_at(low(key), low(place) + low(places_in_tile()), _MULTIPLIERS[CONSUMER // 2])
    if CONSUMER % 2 == 0:
        return _first(of_element)
    else:
        return _second(of_element)


@jit
def _exponents_of(values, left, MARGIN: tl.constexpr):
    """The exponent of each block."""
    magnitudes = low(bits(values.to(tl.float32)) & _MAGNITUDE).to(tl.int32)
    there = tl.where(places_in_tile() < left, magnitudes, 0)
    return _exponent_of(tl.max(there, axis=1)[:, None].to(tl.uint32), MARGIN)


@jit
def _load_exponents(exponents, start, left):
    block = tl.arange(0, BLOCKS)[:, None]
    return tl.load(exponents + start // BLOCK + block, mask=block * BLOCK < left, other=0)


@jit
def _store_exponents(exponents, start, left, found):
    block = tl.arange(0, BLOCKS)[:, None]
    tl.store(exponents + start // BLOCK + block, found.to(tl.uint8), mask=block * BLOCK < left)
