"""How Numba compiles rules and codecs.

Fast-math is ``contract`` (fused multiply-add) alone. ``nnan`` and ``ninf`` would let LLVM drop
the NaN that has to reach the user; ``arcp``, ``afn`` and ``reassoc`` let the vector loop and its
scalar remainder round differently, and bring nothing where memory is the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


def called(function: Callable[..., Any]) -> Any:
    """Compile a function that others call."""
    return njit(**OPTIONS)(function)
