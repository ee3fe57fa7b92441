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

import torch
from numba import carray, cfunc, njit, types
from numba.np.unsafe.ndarray import to_fixed_tuple

from adamantine.backends.cpu.elements import ELEMENTS
from adamantine.backends.cpu.job import ADDRESSES, BOUNDS, CHUNKS, COLUMNS, CONSTANTS, ROWS, WORDS
from adamantine.backends.cpu.memory import arrays_at, float64_pointer, int64_pointer, load, store
from adamantine.rules import Rule, bind


class Kernel(Protocol):
    """A compiled rule."""

    address: int


OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
SIGNATURE = types.void(types.int64, types.int64)
"""Address of a :mod:`job <.job>`, number of the piece."""

# Replaced by `compiled` for each rule; here so that the loop below reads as what it is.
UPDATE: Any = None
ARRAYS: int = 0
SCALARS: int = 0
SAMPLE: Any = None
COMPUTE: Any = None


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
        written = (arrays[0],) + arrays[2:]
        for i in range(length):
            store(written, i, UPDATE(*(load(arrays, i) + own)))


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
    name = f"{rule.name}_{str(dtype).removeprefix('torch.')}_{_digest(rule)}"
    function = specialised(rule, dtype, name)
    return cast(Kernel, cfunc(SIGNATURE, cache=True, **OPTIONS)(function))


def specialised(rule: Rule, dtype: torch.dtype, name: str) -> FunctionType:
    """The loop with `rule` in its middle, under a name of its own; not compiled yet."""
    scope = {
        **globals(),
        "UPDATE": bind(rule.update, _operations(), _compile),
        "ARRAYS": 2 + len(rule.states),
        "SCALARS": len(rule.scalars),
        "SAMPLE": ELEMENTS[dtype].sample,
        "COMPUTE": ELEMENTS[dtype].compute,
    }
    function = FunctionType(_run_piece.__code__, scope, name)
    function.__qualname__ = name
    return function


def _digest(rule: Rule) -> str:
    digest = hashlib.sha256(repr((rule.states, rule.scalars, OPTIONS)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    _hash_function(digest, rule.update)
    return digest.hexdigest()[:16]


def _hash_function(digest: Any, function: Any) -> None:
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    digest.update(repr((code.co_code, constants, code.co_names, code.co_varnames)).encode())
    for name in code.co_names:
        callee = function.__globals__.get(name)
        if isinstance(callee, FunctionType) and name not in _operations():
            _hash_function(digest, callee)
