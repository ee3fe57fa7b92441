"""What a tensor's elements are in memory, and how compiled code reads and writes them.

A rule computes in float32 (in float64 for float64 tensors); what lies in memory is converted at the
kernel's edge, and rounded to nearest, ties to even, on the way back. Numba has no 16-bit floats on
the CPU, so their bits travel as integers: unsigned for bfloat16, signed for float16.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from adamantine.backends.cpu.compiling.decorators import overloads

_I16, _I32, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()


@dataclass(frozen=True)
class Element:
    """A dtype that the kernels take.

    Parameters
    ----------
    sample
        A value of the type that Numba reads.
    compute
        What the rule's arithmetic is in.
    """

    sample: Any
    compute: Any


ELEMENTS: dict[torch.dtype, Element] = {
    torch.float32: Element(np.float32(0), np.float32),
    torch.float64: Element(np.float64(0), np.float64),
    torch.bfloat16: Element(np.uint16(0), np.float32),
    torch.float16: Element(np.int16(0), np.float32),
}


@cache
def supported() -> frozenset[torch.dtype]:
    """The dtypes that this processor's kernels take."""
    if platform.machine() in ("x86_64", "AMD64") and not binding.get_host_cpu_features().get(
        "f16c"
    ):
        return frozenset(ELEMENTS) - {torch.float16}  # LLVM would call a function nobody has
    return frozenset(ELEMENTS)


@intrinsic
def from_bfloat16(typingctx, bits):
    """The value of a bfloat16's bits."""

    def codegen(context, builder, signature, arguments):
        high = builder.shl(builder.zext(arguments[0], _I32), _I32(16))
        return builder.bitcast(high, _FLOAT)

    return types.float32(types.uint16), codegen


@intrinsic
def to_bfloat16(typingctx, value):
    """The bits of the nearest bfloat16, ties to even."""

    def codegen(context, builder, signature, arguments):
        (value,) = arguments
        bits = builder.bitcast(value, _I32)
        high = builder.lshr(bits, _I32(16))
        even = builder.and_(high, _I32(1))
        rounded = builder.lshr(builder.add(bits, builder.add(even, _I32(0x7FFF))), _I32(16))
        # A NaN's bits must not be carried into infinity: keep it, as a quiet one.
        quiet = builder.or_(high, _I32(0x40))
        is_nan = builder.fcmp_unordered("uno", value, value)
        return builder.trunc(builder.select(is_nan, quiet, rounded), _I16)

    return types.uint16(types.float32), codegen


@intrinsic
def from_float16(typingctx, bits):
    """The value of a float16's bits."""

    def codegen(context, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), _FLOAT)

    return types.float32(types.int16), codegen


@intrinsic
def to_float16(typingctx, value):
    """The bits of the nearest float16."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), _I16)

    return types.int16(types.float32), codegen


def read(array, i):
    """Element `i` of an array, as a number to compute with."""
    raise NotImplementedError("only inside compiled code")


@overloads(read)
def _read(array, i):
    if isinstance(array, types.BaseTuple):
        return None  # codes: see `.codes`
    if array.dtype == types.uint16:
        return lambda array, i: from_bfloat16(array[i])
    if array.dtype == types.int16:
        return lambda array, i: from_float16(array[i])
    return lambda array, i: array[i]


def write(array, i, value):
    """Round `value` into element `i` of an array."""
    raise NotImplementedError("only inside compiled code")


@overloads(write)
def _write(array, i, value):
    def plain(array, i, value):
        array[i] = value

    def bfloat16(array, i, value):
        array[i] = to_bfloat16(value)

    def float16(array, i, value):
        array[i] = to_float16(value)

    return {types.uint16: bfloat16, types.int16: float16}.get(array.dtype, plain)
