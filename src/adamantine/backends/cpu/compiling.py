"""How Numba compiles rules and codecs.

Fast-math is ``contract`` (fused multiply-add) alone. ``nnan`` and ``ninf`` would let LLVM drop
the NaN that has to reach the user; ``arcp``, ``afn`` and ``reassoc`` let the vector loop and its
scalar remainder round differently, and bring nothing where memory is the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import overload

OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}

# Wrappers for Python and C would take a fifth of the time in which a kernel is compiled.
LINKED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For what only compiled code calls."""


def called(function: Callable[..., Any]) -> Any:
    """Compile a function that others call."""
    return njit(**OPTIONS, **LINKED)(function)


def overloads(function: Callable[..., Any]) -> Any:
    """Give compiled code an implementation of `function` by the types of its arguments.

    Without fused multiply-add: it is for what moves and rounds the numbers of a rule.
    """
    # Numba takes the options as a dictionary alone, and ignores keywords without a word.
    return overload(function, jit_options={**LINKED, "error_model": "numpy"})
