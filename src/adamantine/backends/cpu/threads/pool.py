"""Threads of our own, for when torch's are not at hand (:mod:`.team`).

A small network's step takes hardly longer than it takes to wake a thread. So helpers are woken when
the step *begins*: while the caller still reads addresses, they come up and watch for work, and find
it within a microsecond. They wait outside of Python, for they could not come up while the caller
holds the GIL. Nobody waits for a helper that has not come: whoever is free takes the next piece,
and a core that is busy elsewhere holds nothing up.

Not Numba's ``parallel=True``: its workqueue layer aborts the process when two Python threads enter
it at once, and its OpenMP layer loads a second libgomp beside torch's.

The protocol, on words that all threads share (all accesses are sequentially consistent):

- The caller lays out the work, then makes ``GATE`` odd. It takes pieces itself until none is left,
  makes ``GATE`` even, and waits for ``INSIDE`` to become 0.
- A helper that sees a new odd ``GATE`` first counts itself in, then looks at ``GATE`` again. If it
  is still the same, the caller cannot leave before the helper has counted itself out.
"""

from __future__ import annotations

import atexit
import ctypes
import os
from functools import cache
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from adamantine.backends.cpu.compiling.decorators import njit_cached
from adamantine.backends.cpu.compiling.native import (
    address_of,
    call1,
    call2,
    fetch_add,
    load,
    store,
)
from adamantine.backends.cpu.threads.pieces import (
    FREE,
    LINE,
    fill,
    new_queue,
    put,
    run_alone,
    take_pieces,
)

# Words of the queue, each with a cache line of its own.
GATE, SEATS, INSIDE, REQUESTS, ASLEEP, CLOSING, MUTEX, CONDITION = (
    FREE + LINE * line for line in (*range(6), 8, 16)
)
_QUEUE_BYTES = FREE + LINE * 28  # glibc's mutex takes 40 bytes, its condition 48; macOS's some more

LOCK, UNLOCK, WAIT, SIGNAL, YIELD = range(5)
_FUNCTIONS = (
    "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_signal",
    "sched_yield",
)  # fmt: skip

PATIENCE = 2_000
"""Looks at the gate before a helper goes back to sleep: about half a millisecond."""


@njit_cached(nogil=True)
def _serve(queue, calls):
    """A helper's life: sleep until a step begins, watch for its work, do it."""
    done, answered = 0, 0
    while load(queue + CLOSING) == 0:
        call1(calls[LOCK], queue + MUTEX)
        fetch_add(queue + ASLEEP, 1)
        while load(queue + REQUESTS) == answered and load(queue + CLOSING) == 0:
            call2(calls[WAIT], queue + CONDITION, queue + MUTEX)
        fetch_add(queue + ASLEEP, -1)
        answered = load(queue + REQUESTS)
        call1(calls[UNLOCK], queue + MUTEX)
        looks = 0
        while looks < PATIENCE and load(queue + CLOSING) == 0:
            gate = load(queue + GATE)
            if gate % 2 == 0 or gate == done:
                looks += 1
                call1(calls[YIELD], 0)
                continue
            done, looks = gate, 0
            fetch_add(queue + INSIDE, 1)
            if load(queue + GATE) == gate and fetch_add(queue + SEATS, -1) > 0:
                take_pieces(queue, True)
            fetch_add(queue + INSIDE, -1)


@njit_cached()
def _wake(queue, calls, count):
    call1(calls[LOCK], queue + MUTEX)
    fetch_add(queue + REQUESTS, 1)
    asleep = load(queue + ASLEEP)
    call1(calls[UNLOCK], queue + MUTEX)
    for _ in range(min(count, asleep)):
        call1(calls[SIGNAL], queue + CONDITION)


@njit_cached(nogil=True)
def _run(queue, calls, kernel, arguments, pieces, helpers, afterwards):
    if load(queue + ASLEEP) > 0:
        # Awake too early, or called away: large work is worth another call.
        _wake(queue, calls, helpers)
    fill(queue, kernel, arguments, pieces)
    store(queue + SEATS, helpers)
    fetch_add(queue + GATE, 1)
    take_pieces(queue, False)
    fetch_add(queue + GATE, 1)
    while load(queue + INSIDE) != 0:
        call1(calls[YIELD], 0)
    if afterwards != 0:
        call1(afterwards, arguments)


class _Pool:
    """The helpers of this process and the queue that they share with whoever has work."""

    def __init__(self, calls: NDArray[np.int64]) -> None:
        self._memory, self.queue = new_queue(_QUEUE_BYTES)
        self.calls = calls
        self.busy = Lock()
        self._helpers: list[Thread] = []
        for name, offset in (("pthread_mutex_init", MUTEX), ("pthread_cond_init", CONDITION)):
            getattr(ctypes.CDLL(None), name)(ctypes.c_void_p(self.queue + offset), None)

    def start_helpers(self, count: int) -> None:
        """See to it that there are at least `count` helpers."""
        while len(self._helpers) < count:
            helper = Thread(
                target=_serve, args=(self.queue, self.calls), name="adamantine", daemon=True
            )
            helper.start()
            self._helpers.append(helper)

    def close(self) -> None:
        """Send all helpers home, so that nobody reads the queue after it is gone."""
        # Ctrl-C at an unlucky moment may have left it locked; the process must end all the same.
        if self.busy.acquire(timeout=5):
            put(self._memory, self.queue + CLOSING, 1)
            _wake(self.queue, self.calls, len(self._helpers))
            for helper in self._helpers:
                helper.join()


_pool: _Pool | None = None
_founding = Lock()


@cache
def _calls() -> NDArray[np.int64] | None:
    """Addresses of the C functions that the pool needs; None where threads are not POSIX's."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None)
    return np.array([address_of(getattr(library, name)) for name in _FUNCTIONS], np.int64)


def wake(threads: int) -> None:
    """Ask for `threads` - 1 helpers, because work for :func:`run` is about to come."""
    global _pool
    calls = _calls()
    if threads == 1 or calls is None:
        return
    with _founding:
        _pool = _pool or _Pool(calls)
        _pool.start_helpers(threads - 1)
    _wake(_pool.queue, calls, threads - 1)


def run(kernel: int, arguments: int, pieces: int, threads: int, afterwards: int = 0) -> None:
    """Call ``void kernel(arguments, piece)``, at that address, for every piece.

    Then, where there is one, ``void afterwards(arguments)``, in the same call of compiled code: no
    handler of a signal (Ctrl-C) runs before it.

    Runs on the caller and on up to `threads` - 1 helpers, if :func:`wake` was called before and
    nobody else is using them; returns when all pieces are done.
    """
    pool = _pool
    if threads == 1 or pool is None or not pool.busy.acquire(blocking=False):
        run_alone(kernel, arguments, pieces, afterwards)
        return
    try:
        _run(pool.queue, pool.calls, kernel, arguments, pieces, threads - 1, afterwards)
    finally:
        pool.busy.release()


@atexit.register
def _close() -> None:
    if _pool is not None:
        _pool.close()


def _forget() -> None:
    """After a fork: the child has no helpers, and perhaps a lock that nobody will release."""
    global _pool, _founding
    _pool, _founding = None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
