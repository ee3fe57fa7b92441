"""Calls by address and atomic memory, inside compiled code: what the pool and the probe stand on.

Addresses come in as integers at run time, so that Numba's disk cache stays valid from one process
to the next, where the same functions lie elsewhere.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_WORD = ir.IntType(64)


def address_of(function: Any) -> int:
    """Where a C function that ctypes knows lies in this process."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _caller(result, arguments):
    """An intrinsic that calls a C function of that many words; the address comes first."""
    returned = {types.void: ir.VoidType(), types.int32: ir.IntType(32), types.int64: _WORD}[result]

    def codegen(context, builder, signature, words):
        pointer = ir.FunctionType(returned, [_WORD] * arguments).as_pointer()
        value = builder.call(builder.inttoptr(words[0], pointer), words[1:])
        return context.get_dummy_value() if result is types.void else value

    return result(*[types.int64] * (arguments + 1)), codegen


@intrinsic
def call0(typingctx, function):
    """``void function(void)``."""
    return _caller(types.void, 0)


@intrinsic
def number_from(typingctx, function):
    """``int function(void)``."""
    return _caller(types.int32, 0)


@intrinsic
def call1(typingctx, function, first):
    """``int function(word)``."""
    return _caller(types.int32, 1)


@intrinsic
def call2(typingctx, function, first, second):
    """``int function(word, word)``."""
    return _caller(types.int32, 2)


@intrinsic
def call4(typingctx, function, first, second, third, fourth):
    """``int function(word, word, word, word)``."""
    return _caller(types.int32, 4)


@intrinsic
def object2(typingctx, function, first, second):
    """``void *function(word, word)``."""
    return _caller(types.int64, 2)


@intrinsic
def load(typingctx, address):
    """Read the word at `address`; sequentially consistent, as all here."""

    def codegen(context, builder, signature, arguments):
        where = builder.inttoptr(arguments[0], _WORD.as_pointer())
        return builder.load_atomic(where, "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store(typingctx, address, value):
    """Write the word at `address`."""

    def codegen(context, builder, signature, arguments):
        where = builder.inttoptr(arguments[0], _WORD.as_pointer())
        builder.store_atomic(arguments[1], where, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fetch_add(typingctx, address, value):
    """Add to the word at `address`; returns what was there before."""

    def codegen(context, builder, signature, arguments):
        where = builder.inttoptr(arguments[0], _WORD.as_pointer())
        return builder.atomic_rmw("add", where, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen
