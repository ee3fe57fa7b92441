"""The threads that kernels run on.

A kernel releases the GIL, so ordinary Python threads do. Not Numba's ``parallel=True``: its
workqueue layer aborts the process when two Python threads enter it at once, and its OpenMP layer
loads a second libgomp beside torch's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

_executor: ThreadPoolExecutor | None = None
_size = 0
_lock = Lock()


def run(work: Callable[[int, int], None], pieces: list[tuple[int, int]], threads: int) -> None:
    """Call ``work(start, stop)`` for all `pieces` on `threads` threads, the caller being one.

    Whoever is free takes the next piece, so a core that is busy elsewhere does not hold up the
    rest. Returns when all are done; an exception in any is raised here.
    """
    # next() on a list's iterator is one step under the GIL: no two threads get the same piece.
    queue = iter(pieces)

    def take() -> None:
        for start, stop in queue:
            work(start, stop)

    executor = _workers(threads - 1)
    helpers = [executor.submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        # Wait even when the caller failed: helpers may still be writing to the tensors.
        errors = [helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


def _workers(count: int) -> ThreadPoolExecutor:
    """The shared pool, grown to at least `count` threads."""
    global _executor, _size
    with _lock:
        if _executor is None or _size < count:
            # A smaller pool that others still use finishes its work and ends by itself.
            _executor, _size = ThreadPoolExecutor(count, thread_name_prefix="adamantine"), count
        return _executor


def _forget() -> None:
    """After a fork: the child has no threads, and perhaps a lock that nobody will release."""
    global _executor, _size, _lock
    _executor, _size, _lock = None, 0, Lock()


os.register_at_fork(after_in_child=_forget)
