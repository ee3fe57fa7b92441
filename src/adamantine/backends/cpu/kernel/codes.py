"""Codecs inside compiled code: a stretch of memory opened for a rule, and closed after it.

What stands alone, a kernel reads and writes in place. Codes are open one block at a time: decoded
as they are read, in the rule's own loop, which waits for divisions anyway. What becomes of them is
written to a kilobyte of the stack, which stays in the first-level cache, and is encoded from there
once all of the block is known.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from adamantine.backends.cpu.compiling.decorators import LINKED, njit_called, overloads
from adamantine.backends.cpu.compiling.elements import ELEMENTS, read, write
from adamantine.backends.cpu.compiling.memory import (
    float32_pointer,
    pointer_like,
    uint8_pointer,
    uint16_pointer,
)
from adamantine.backends.formats import OFFSETS, Format
from adamantine.codecs import bfloat16, blocks, int8, noise
from adamantine.codecs.blocks import BLOCK
from adamantine.rules import bind

_I32, _FLOAT = ir.IntType(32), ir.FloatType()


@intrinsic
def _bits(typingctx, x):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], _I32)

    return types.uint32(types.float32), codegen


@intrinsic
def _number(typingctx, i):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], _FLOAT)

    return types.float32(types.uint32), codegen


def _low(i):
    return np.uint32(i)


def _number_of(i):
    return _number(np.uint32(i))


def _choose(condition, x, y):
    return x if condition else y


OPERATIONS = {
    "bits": _bits,
    "number": njit_called(_number_of),
    "low": njit_called(_low),
    "choose": njit_called(_choose),
}
"""What the names of `codecs.ops` stand for here."""


def _bound(function: Any) -> Any:
    return bind(function, OPERATIONS, njit_called)


_scale_of, _inverse_of, _exponent_of, key_of, _bits_at, _following, _first, _second = map(
    _bound,
    (
        *(blocks.scale_of, blocks.inverse_of, blocks.exponent_of),
        *(noise.key_of, noise.bits_at, noise.following, noise.first, noise.second),
    ),
)
_encode_bfloat16 = _bound(bfloat16.encode_bfloat16)
_encode_signed, _encode_unsigned = map(_bound, (int8.encode_signed, int8.encode_unsigned))
_decode_signed = _bound(int8.decode_signed)
# Without contraction, which would carry a product that is below the normal numbers, unrounded, into
# the rule's arithmetic: decoded alone it is rounded.
_decode_unsigned = bind(int8.decode_unsigned, OPERATIONS, njit(error_model="numpy", **LINKED))


def sample_of(format: Format) -> Any:  # noqa: A002 - what it is
    """What tells Numba of a format: a value as it lies in memory, marked by tuples around it.

    Plain: the value. Rounded stochastically: ``(value,)``. Codes: ``(value, exponent)``, the value
    signed or not.
    """
    if format.coded:
        return (np.int8(0) if format.signed else np.uint8(0), np.uint8(0))
    if format.dtype == OFFSETS:
        return np.int8(0)
    sample = ELEMENTS[format.dtype].sample
    return (sample,) if format.stochastic else sample


def scratch_bytes(formats: tuple[Format, ...]) -> int:
    """What :func:`stack` has to reserve for tensors of these formats, with room to choose from."""
    return sum(f.coded for f in formats) * BLOCK * 4 + 4096


@intrinsic
def stack(typingctx, size):
    """The address of `size` bytes (a constant) on the stack, for as long as the kernel runs."""

    def codegen(context, builder, signature, arguments):
        count = ir.Constant(ir.IntType(64), size.literal_value)
        memory = cgutils.alloca_once(builder, ir.IntType(8), size=count)
        memory.align = 64
        return builder.ptrtoint(memory, ir.IntType(64))

    if not isinstance(size, types.IntegerLiteral):
        return None
    return types.int64(size), codegen


# Memory goes from function to function as addresses: to cut an array costs Numba as much time as
# to encode a block.


@njit_called
def _top(values, length):
    """The bits of the largest magnitude; those of a NaN are above all others."""
    given = carray(float32_pointer(values), length)
    top = np.uint32(0)
    for i in range(length):
        top = max(top, np.uint32(_bits(given[i]) & np.uint32(int8.MAGNITUDE)))
    return top


# Loops for each kind of codes and bits: a function that gets another one as an argument cannot be
# cached on disk. Each has a name of its own. Numba numbers functions as a process makes them and
# links by name and number, so one from the disk cache could be taken for another of this process.


def _loop(*parts: object) -> Any:
    def compiled(function: Any) -> Any:
        function.__qualname__ = "_".join([function.__name__, *map(str, parts)])
        return njit_called(function)

    return compiled


@cache
def _codes_encoder(encode, margin, taken, multiplier):
    parts = (encode.__name__, margin, taken.__name__, multiplier)

    @_loop(*parts)
    def encode_block(codes, values, length, inverse, h):
        found, given = carray(uint8_pointer(codes), length), carray(float32_pointer(values), length)
        for i in range(length):
            found[i] = encode(given[i], inverse, taken(h))
            h = _following(h, multiplier)

    @_loop(*parts)
    def encode_whole(codes, exponents, values, length, key, offset):
        exponent = _exponent_of(_top(values, length), margin)
        carray(uint8_pointer(exponents), 1)[0] = exponent
        h = _bits_at(key, offset, multiplier)
        encode_block(codes, values, length, _inverse_of(exponent), h)

    return encode_whole


def _encoder_of(sample: Any) -> tuple[Any, int]:
    """What encodes the codes of a sample's type, and their margin."""
    if sample[0] == types.int8:
        return _encode_signed, int8.SIGNED_MARGIN
    return _encode_unsigned, int8.UNSIGNED_MARGIN


_CONSUMERS = (np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16)
_TYPES = [typeof(consumer(0)) for consumer in _CONSUMERS]


def consumer_of(number: int) -> Any:
    """A consumer of random bits. Its type is its number: to compiled loops it is a constant."""
    return _CONSUMERS[number](0)


def _bits_of(consumer: Any) -> tuple[Any, int]:
    """What takes a consumer's part of the bits, and in which of the sequences they are."""
    number = _TYPES.index(consumer)
    return (_second if number % 2 else _first), number // 2


def streams_at(key, offset):
    """The bits of an element, in all sequences."""
    raise NotImplementedError("only inside compiled code")


@overloads(streams_at)
def _streams_at(key, offset):
    a, b, c = noise.MULTIPLIERS
    return lambda key, offset: (
        _bits_at(key, offset, a), _bits_at(key, offset, b), _bits_at(key, offset, c)
    )  # fmt: skip


def streams_after(streams):
    """Those of the next element."""
    raise NotImplementedError("only inside compiled code")


@overloads(streams_after)
def _streams_after(streams):
    a, b, c = noise.MULTIPLIERS
    return lambda streams: (
        _following(streams[0], a), _following(streams[1], b), _following(streams[2], c)
    )  # fmt: skip


def store_rounded(arrays, i, values, samples, consumers, streams):
    """Write one value into element `i` of every array, rounded as its sample says."""
    raise NotImplementedError("only inside compiled code")


@overloads(store_rounded)
def _store_rounded(arrays, i, values, samples, consumers, streams):
    if len(arrays) == 0:
        return lambda arrays, i, values, samples, consumers, streams: None
    if isinstance(samples[0], types.BaseTuple):
        taken, sequence = _bits_of(consumers[0])

        def stochastic(arrays, i, values, samples, consumers, streams):
            arrays[0][i] = _encode_bfloat16(values[0], taken(streams[sequence]))
            store_rounded(arrays[1:], i, values[1:], samples[1:], consumers[1:], streams)

        return stochastic

    def nearest(arrays, i, values, samples, consumers, streams):
        write(arrays[0], i, values[0])
        store_rounded(arrays[1:], i, values[1:], samples[1:], consumers[1:], streams)

    return nearest


def opened(addresses, samples, exponents, length):
    """What :func:`read` takes for `length` elements at the addresses; of codes, a block at most.

    Arrays, and codes with their scale. `exponents` are the addresses of those of the codes.
    """
    raise NotImplementedError("only inside compiled code")


@overloads(opened)
def _opened(addresses, samples, exponents, length):
    if len(addresses) == 0:
        return lambda addresses, samples, exponents, length: ()
    sample = samples[0]
    if not isinstance(sample, types.BaseTuple):

        def plain(addresses, samples, exponents, length):
            return (carray(pointer_like(addresses[0], samples[0]), length),) + opened(
                addresses[1:], samples[1:], exponents, length
            )

        return plain
    if len(sample) == 1:

        def halves(addresses, samples, exponents, length):
            return (carray(uint16_pointer(addresses[0]), length),) + opened(
                addresses[1:], samples[1:], exponents, length
            )

        return halves

    def codes(addresses, samples, exponents, length):
        scale = _scale_of(carray(uint8_pointer(exponents[0]), 1)[0])
        return ((carray(pointer_like(addresses[0], samples[0][0]), length), scale),) + opened(
            addresses[1:], samples[1:], exponents[1:], length
        )

    return codes


def working(arrays, scratch, length):
    """Where to write what :func:`opened` has opened: in place, or in `scratch`."""
    raise NotImplementedError("only inside compiled code")


@overloads(working)
def _working(arrays, scratch, length):
    if len(arrays) == 0:
        return lambda arrays, scratch, length: ()
    if not isinstance(arrays[0], types.BaseTuple):
        return lambda arrays, scratch, length: (arrays[0],) + working(arrays[1:], scratch, length)
    return lambda arrays, scratch, length: (
        (carray(float32_pointer(scratch), length),)
        + working(arrays[1:], scratch + 4 * BLOCK, length)
    )


@overloads(read)
def _read_code(array, i):
    if not isinstance(array, types.BaseTuple):
        return None
    decode = _decode_signed if array[0].dtype == types.int8 else _decode_unsigned
    return lambda array, i: decode(array[0][i], array[1])


def close(addresses, samples, exponents, scratch, length, key, offset, consumers):
    """Encode what was written to `scratch`.

    `key` is that of the step, `offset` the place of the first element in its tensor, `consumers`
    says which bits of an element's random numbers each tensor takes.
    """
    raise NotImplementedError("only inside compiled code")


@overloads(close)
def _close(addresses, samples, exponents, scratch, length, key, offset, consumers):
    if len(addresses) == 0:
        return lambda addresses, samples, exponents, scratch, length, key, offset, consumers: None
    sample = samples[0]
    if not isinstance(sample, types.BaseTuple) or len(sample) == 1:

        def in_place(addresses, samples, exponents, scratch, length, key, offset, consumers):
            close(
                addresses[1:], samples[1:], exponents, scratch, length, key, offset, consumers[1:]
            )

        return in_place
    encode, margin = _encoder_of(sample)
    taken, sequence = _bits_of(consumers[0])
    encode_whole = _codes_encoder(encode, margin, taken, noise.MULTIPLIERS[sequence])

    def codes(addresses, samples, exponents, scratch, length, key, offset, consumers):
        encode_whole(addresses[0], exponents[0], scratch, length, key, offset)
        left = scratch + 4 * BLOCK
        close(addresses[1:], samples[1:], exponents[1:], left, length, key, offset, consumers[1:])

    return codes
