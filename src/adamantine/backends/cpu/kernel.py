"""A rule, compiled: one pass over memory, vectorised by LLVM, for all tensors of a table.

Fast-math is ``contract`` (fused multiply-add) alone. ``nnan`` and ``ninf`` would let LLVM drop
the NaN that has to reach the user; ``arcp``, ``afn`` and ``reassoc`` let the vector loop and its
scalar remainder round differently, and bring nothing where memory is the limit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Protocol, cast

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from numba.np.unsafe.ndarray import to_fixed_tuple

from adamantine.backends.cpu.elements import ELEMENTS
from adamantine.backends.cpu.job import (
    ADDRESSES,
    BOUNDS,
    CHUNKS,
    COLUMNS,
    CONSTANTS,
    COUNTS,
    ROWS,
    WORDS,
)
from adamantine.backends.cpu.memory import arrays_at, float64_pointer, int64_pointer, load, store
from adamantine.rules import Rule, Share, bind


class Kernel(Protocol):
    """A compiled rule."""

    address: int


OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
SIGNATURE = types.void(types.int64, types.int64)
"""Address of a :mod:`job <.job>`, number of the piece."""

# Replaced by `_specialised` for each kernel; here so that the loops below read as what they are.
FORMULA: Any = None
EACH_CHUNK: Any = None
ARRAYS: int = 0
SCALARS: int = 0
SAMPLE: Any = None
COMPUTE: Any = None

ZERO, ONE = np.float32(0), np.float32(1)


def _run_piece(job, piece):
    words = carray(int64_pointer(job), WORDS)
    bounds = carray(int64_pointer(words[BOUNDS]), piece + 2)
    chunks = carray(int64_pointer(words[CHUNKS]), (bounds[piece + 1], 3))
    for chunk in range(bounds[piece], bounds[piece + 1]):
        tensor, offset, length = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        row = carray(int64_pointer(words[ROWS] + 8 * tensor), 1)[0]
        if row < 0:
            continue
        constants = carray(float64_pointer(words[CONSTANTS] + 8 * SCALARS * row), SCALARS)
        pointers = carray(int64_pointer(words[ADDRESSES] + 8 * words[COLUMNS] * tensor), ARRAYS)
        own = to_fixed_tuple(constants.astype(COMPUTE), SCALARS)
        arrays = arrays_at(to_fixed_tuple(pointers, ARRAYS), SAMPLE, offset, length)
        EACH_CHUNK(words, chunk, length, arrays, own)


def _update(words, chunk, length, arrays, own):
    written = (arrays[0],) + arrays[2:]
    for i in range(length):
        store(written, i, FORMULA(*(load(arrays, i) + own)))


def _count(words, chunk, length, arrays, own):
    found = 0
    for i in range(length):
        found += 1 if FORMULA(*(load(arrays, i) + own)) > ZERO else 0
    carray(int64_pointer(words[COUNTS]), chunk + 1)[chunk] = found


def _signum(x):
    return ONE if x > ZERO else -ONE if x < ZERO else x


def _maximum(x, y):
    return x if x > y or x != x else y


def _where(condition, x, y):
    return x if condition else y


def called(function: Callable[..., Any]) -> Any:
    """Compile a function that others call."""
    return njit(**OPTIONS)(function)


@cache
def operations() -> dict[str, Any]:
    """What the names of `rules.ops` stand for here."""
    return {
        "sqrt": math.sqrt,
        "absolute": math.fabs,
        "signum": called(_signum),
        "maximum": called(_maximum),
        "where": called(_where),
    }


@cache
def compiled(rule: Rule, dtype: torch.dtype) -> Kernel:
    """The kernel of `rule` for tensors of `dtype`.

    From the disk cache, or compiled (about a second) and cached there.

    It is a C function of `SIGNATURE` at the object's ``address``, for :mod:`.pool` to call.

    Numba files a cached function under its name and checks the age of its source file only. The
    digest in the name covers the rest: the rule, all it calls, and the other files of this folder.
    """
    name = _name(rule.name, dtype, digest(rule.states, rule.update))
    return _compile_kernel(updating(rule, dtype, name))


@cache
def compiled_count(share: Share, tensors: int, dtype: torch.dtype) -> Kernel:
    """The kernel that counts for `share`, whose first `tensors` arguments are tensors of `dtype`.

    It leaves the count of every chunk in the job's ``COUNTS``.
    """
    name = _name(share.holds.__name__, dtype, digest(tensors, share.holds))
    return _compile_kernel(counting(share, tensors, dtype, name))


def updating(rule: Rule, dtype: torch.dtype, name: str) -> FunctionType:
    """The loop with `rule` in its middle, under a name of its own; not compiled yet."""
    return _specialised(_update, rule.update, len(rule.tensors), dtype, name)


def counting(share: Share, tensors: int, dtype: torch.dtype, name: str) -> FunctionType:
    """The loop that counts for `share`, likewise."""
    return _specialised(_count, share.holds, tensors, dtype, name)


def _specialised(
    each_chunk: Callable[..., None],
    element: Callable[..., Any],
    tensors: int,
    dtype: torch.dtype,
    name: str,
) -> FunctionType:
    scope = {
        **globals(),
        "FORMULA": bind(element, operations(), called),
        "ARRAYS": tensors,
        "SCALARS": element.__code__.co_argcount - tensors,
        "SAMPLE": ELEMENTS[dtype].sample,
        "COMPUTE": ELEMENTS[dtype].compute,
    }
    inlined = njit(inline="always", **OPTIONS)
    scope["EACH_CHUNK"] = inlined(FunctionType(each_chunk.__code__, scope, each_chunk.__name__))
    function = FunctionType(_run_piece.__code__, scope, name)
    function.__qualname__ = name
    return function


def _compile_kernel(function: FunctionType) -> Kernel:
    return cast(Kernel, cfunc(SIGNATURE, cache=True, **OPTIONS)(function))


def _name(element: str, dtype: torch.dtype, digest: str) -> str:
    return f"{element}_{str(dtype).removeprefix('torch.')}_{digest}"


def digest(what: object, *functions: Callable[..., Any]) -> str:
    """End of a compiled function's name: says what it was made of, this folder's files included."""
    hashed = hashlib.sha256(repr((what, OPTIONS)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        hashed.update(path.read_bytes())
    for function in functions:
        _hash_function(hashed, function)
    return hashed.hexdigest()[:16]


def _hash_function(hashed: Any, function: Any) -> None:
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    hashed.update(repr((code.co_code, constants, code.co_names, code.co_varnames)).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and name not in operations():
            _hash_function(hashed, value)
        elif isinstance(value, int | float):
            hashed.update(repr((name, value)).encode())
