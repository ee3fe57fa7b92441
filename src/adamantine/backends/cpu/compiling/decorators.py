"""How Numba compiles rules and codecs.

Fast-math is ``contract`` (fused multiply-add) alone. ``nnan`` and ``ninf`` would let LLVM drop
the NaN that has to reach the user; ``arcp``, ``afn`` and ``reassoc`` let the vector loop and its
scalar remainder round differently, and bring nothing where memory is the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from numba import cfunc, njit
from numba.extending import overload

from adamantine import codecs

OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}

# Wrappers for Python and C would take a fifth of the time in which a kernel is compiled.
LINKED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For what only compiled code calls."""


@cache
def sources() -> str:
    """A digest of this backend's files, and of those of the codecs."""
    hashed = hashlib.sha256()
    for folder in (Path(__file__).parents[1], Path(codecs.__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def njit_cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function, and keep it on disk for the next process: a decorator.

    Numba files it under its name and looks at the age of one source file, which is wrong where
    constants come from another; and of two processes that meet an older version, one may read that
    under the index that the other has just written. So its name says what it was made of.
    """
    return lambda function: njit(cache=True, **options)(_renamed(function))


def cfunc_cached(signature: Any) -> Callable[[Callable[..., Any]], Callable[[], Any]]:
    """The same for a function that C calls: a decorator.

    What it makes of the function returns, once compiled, an object with its ``address``.
    """
    return lambda function: cache(lambda: cfunc(signature, cache=True)(_renamed(function)))


def _renamed(function: Any) -> FunctionType:
    name = f"{function.__name__}_{sources()}"
    renamed = FunctionType(function.__code__, function.__globals__, name)
    renamed.__qualname__, renamed.__doc__ = name, function.__doc__
    return renamed


def njit_called(function: Callable[..., Any]) -> Any:
    """Compile a function that others call."""
    return njit(**OPTIONS, **LINKED)(function)


def overloads(function: Callable[..., Any]) -> Any:
    """Give compiled code an implementation of `function` by the types of its arguments.

    Without fused multiply-add: it is for what moves and rounds the numbers of a rule.
    """
    # Numba takes the options as a dictionary alone, and ignores keywords without a word.
    return overload(function, jit_options={**LINKED, "error_model": "numpy"})
