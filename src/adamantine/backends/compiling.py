"""What can be compiled, and a word to who waits at a terminal while it is.

Kernels in main memory need Numba, those on accelerators Triton.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from threading import Event, Thread
from typing import Any

PATIENCE = 2.0
"""Seconds; what is compiled sooner needs no word."""

_LOOKS = 0.2  # seconds between two looks after that

TEXT = "adamantine: compiling for this machine; the result is kept on disk, so this happens once"

_told = False


@cache
def has(compiler: str) -> bool:
    """Whether that package can be imported; without doing so, which takes half a second."""
    return find_spec(compiler) is not None


@contextmanager
def compiling_is_told() -> Iterator[None]:
    """Around a step that may compile: say so on stderr if it takes long, once a process.

    Only where stderr is a terminal; logs and pipes stay as they are.
    """
    stream: Any = sys.stderr
    if _told or stream is None or not stream.isatty():
        yield
        return
    done = Event()
    Thread(target=_watch, args=(done, stream), name="adamantine notice", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(done: Event, stream: Any) -> None:
    global _told
    patience = PATIENCE
    while not done.wait(patience):
        if _is_compiling() and not _told:
            _told = True
            print(TEXT, file=stream, flush=True)
            return
        patience = _LOOKS


def _is_compiling() -> bool:
    """Whether Numba is at work: a step may also be long because it is large."""
    module = sys.modules.get("numba.core.compiler_lock")
    if module is None:
        return False
    # `is_locked` asks about this thread alone.
    lock = module.global_compiler_lock._lock
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True
