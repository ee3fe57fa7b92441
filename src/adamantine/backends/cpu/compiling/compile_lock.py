"""Of several processes that need the same kernel at once, one compiles it and the others wait.

Ranks of a training and workers of a study begin together, and each would compile for a second or
more what the first of them leaves in the disk cache. Numba's cache has no locks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

if sys.platform != "win32":  # where each compiles for itself
    import fcntl


@contextmanager
def compile_lock(name: str) -> Iterator[None]:
    """Hold this user's lock called `name` on this machine, if locks can be had.

    The system takes it from a process that dies. One file has all of them, a byte each.
    """
    file, place = _file(), zlib.crc32(name.encode())
    if file is None:
        yield
        return
    with suppress(OSError):  # a file system without locks
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN, 1, place)


@cache
def _file() -> int | None:
    """Never closed: closing it anywhere in a process would release all of its locks."""
    if sys.platform == "win32":
        return None
    path = Path(tempfile.gettempdir()) / f"adamantine-{os.getuid()}.lock"
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:  # no place for it, or another user has put something there
        return None
