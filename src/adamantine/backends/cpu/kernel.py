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
from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.np.unsafe.ndarray import to_fixed_tuple

from adamantine.backends.cpu.memory import arrays_at, load, store
from adamantine.rules import Rule, bind

Kernel = Callable[..., None]

FASTMATH = {"contract"}
SIGNATURE = types.void(
    types.int64[:, ::1],  # addresses: a row a tensor; param, grad, states, (step)
    types.int64[:, ::1],  # chunks: tensor, offset, length
    types.int64[::1],  # rows: which row of scalars a tensor takes; below 0, it sits this step out
    types.float64[:, ::1],  # scalars: a row for each group and step count
    types.int64,  # first chunk
    types.int64,  # one past the last chunk
)

# Replaced by `compiled` for each rule; here so that the loop below reads as what it is.
UPDATE: Any = None
ARRAYS: int = 0
SCALARS: int = 0


def _run_chunks(addresses, chunks, rows, scalars, start, stop):
    rounded = scalars.astype(np.float32)
    for chunk in range(start, stop):
        tensor = chunks[chunk, 0]
        row = rows[tensor]
        if row < 0:
            continue
        constants = to_fixed_tuple(rounded[row], SCALARS)
        pointers = to_fixed_tuple(addresses[tensor], ARRAYS)
        arrays = arrays_at(pointers, chunks[chunk, 1], chunks[chunk, 2])
        written = (arrays[0],) + arrays[2:]
        for i in range(chunks[chunk, 2]):
            store(written, i, UPDATE(*(load(arrays, i) + constants)))


def _maximum(x, y):
    return x if x > y or x != x else y


def _where(condition, x, y):
    return x if condition else y


def _compile(function: Callable[..., Any]) -> Any:
    return njit(fastmath=FASTMATH, error_model="numpy")(function)


@cache
def _operations() -> dict[str, Any]:
    return {
        "sqrt": math.sqrt,
        "absolute": math.fabs,
        "maximum": _compile(_maximum),
        "where": _compile(_where),
    }


@cache
def compiled(rule: Rule) -> Kernel:
    """The kernel of `rule`: from the disk cache, or compiled (about a second) and cached there.

    Numba files a cached function under its name and checks the age of its source file only. The
    digest in the name covers the rest: the rule, all it calls, and the other files of this folder.
    """
    name = f"{rule.name}_{_digest(rule)}"
    scope = {
        **globals(),
        "UPDATE": bind(rule.update, _operations(), _compile),
        "ARRAYS": 2 + len(rule.states),
        "SCALARS": len(rule.scalars),
    }
    function = FunctionType(_run_chunks.__code__, scope, name)
    function.__qualname__ = name
    kernel = njit(SIGNATURE, nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")
    return cast(Kernel, kernel(function))


def _digest(rule: Rule) -> str:
    digest = hashlib.sha256(repr((rule.states, rule.scalars, sorted(FASTMATH))).encode())
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
