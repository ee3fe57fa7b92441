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


def _compile(function: Callable[..., Any]) -> Any:
    return njit(**OPTIONS)(function)


@cache
def _operations() -> dict[str, Any]:
    return {
        "sqrt": math.sqrt,
        "absolute": math.fabs,
        "signum": _compile(_signum),
        "maximum": _compile(_maximum),
        "where": _compile(_where),
    }


@cache
def compiled(rule: Rule, dtype: torch.dtype) -> Kernel:
    """The kernel of `rule` for tensors of `dtype`.

    From the disk cache, or compiled (about a second) and cached there.

    It is a C function of `SIGNATURE` at the object's ``address``, for :mod:`.pool` to call.

    Numba files a cached function under its name and checks the age of its source file only. The
    digest in the name covers the rest: the rule, all it calls, and the other files of this folder.
    """
    name = _name(rule.name, dtype, _digest(rule.update, rule.states))
    return _compile_kernel(updating(rule, dtype, name))


@cache
def compiled_count(share: Share, tensors: int, dtype: torch.dtype) -> Kernel:
    """The kernel that counts for `share`, whose first `tensors` arguments are tensors of `dtype`.

    It leaves the count of every chunk in the job's ``COUNTS``.
    """
    name = _name(share.holds.__name__, dtype, _digest(share.holds, tensors))
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
        "FORMULA": bind(element, _operations(), _compile),
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


def _digest(element: Callable[..., Any], tensors: Any) -> str:
    digest = hashlib.sha256(repr((tensors, OPTIONS)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    _hash_function(digest, element)
    return digest.hexdigest()[:16]


def _hash_function(digest: Any, function: Any) -> None:
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    digest.update(repr((code.co_code, constants, code.co_names, code.co_varnames)).encode())
    for name in code.co_names:
        callee = function.__globals__.get(name)
        if isinstance(callee, FunctionType) and name not in _operations():
            _hash_function(digest, callee)
