"""The threads that torch's own operations run on.

After a backward pass torch's OpenMP threads still watch for work, for some milliseconds and at full
speed. To call them costs a microsecond, where any other thread would have to be woken *and* would
share a core with one that watches. So a step takes the way that torch's operations take:
``GOMP_parallel`` of the very libgomp that torch has loaded (LLVM's and Intel's libomp have the
function too).

Three things are different from a pool of one's own, and :mod:`.parallel` minds them:

- A team is called as a whole, and the call returns when all of it is done: libgomp ends threads
  that a smaller team has no place for, and starts them again for the next larger one.
- Its threads may be asleep (``OMP_WAIT_POLICY=PASSIVE``, no operation for a while). Then the caller
  has done all the work before anybody has come.
- A forked child has none, and libgomp does not know it: the call would never return.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from numba import types

from adamantine.backends.cpu.compiling.decorators import cfunc_cached, njit_cached
from adamantine.backends.cpu.compiling.native import address_of, call1, call4, load, number_from
from adamantine.backends.cpu.threads.pieces import (
    BACK,
    FREE,
    LINE,
    fill,
    new_queue,
    put,
    take_pieces,
)

_THREAD_NUMBER = FREE

REST = 32
"""So many steps are left to others after one to which nobody came in time."""


@cfunc_cached(types.void(types.int64))
def _take_part(queue):
    take_pieces(queue, number_from(load(queue + _THREAD_NUMBER)) != 0)


@njit_cached(nogil=True)
def _run(queue, parallel, take_part, kernel, arguments, pieces, threads, afterwards):
    """Whether anybody but the caller has done a piece."""
    fill(queue, kernel, arguments, pieces)
    call4(parallel, take_part, queue, threads, 0)
    others = load(queue + BACK)
    if afterwards != 0:
        call1(afterwards, arguments)
    return others > 0


class _OpenMP(NamedTuple):
    parallel: int
    thread_number: int


@cache
def _openmp() -> _OpenMP | None:
    """Where the library that torch uses has them; None where it has not, or torch uses none.

    A name is looked up as torch's own calls were when it was loaded: among what all the process
    sees first, or an OpenMP that was preloaded would have a second one beside it.
    """
    if os.name != "posix" or not torch.backends.openmp.is_available():
        return None
    for library in (None, Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"):
        try:
            functions = ctypes.CDLL(str(library) if library else None)
            return _OpenMP(
                address_of(functions.GOMP_parallel), address_of(functions.omp_get_thread_num)
            )
        except (OSError, AttributeError):
            continue
    return None


class _Team:
    """The queue at which torch's threads take pieces, for one run at a time."""

    def __init__(self, openmp: _OpenMP) -> None:
        self._parallel = openmp.parallel
        self._memory, self._queue = new_queue(FREE + LINE)
        put(self._memory, self._queue + _THREAD_NUMBER, openmp.thread_number)
        self._busy = Lock()
        self.rest = 0

    def run(self, kernel: int, arguments: int, pieces: int, threads: int, afterwards: int) -> bool:
        """As :func:`run`."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            come = _run(
                self._queue, self._parallel, _take_part().address,
                kernel, arguments, pieces, threads, afterwards,
            )  # fmt: skip
            if not come and pieces > threads:
                self.rest = REST
        finally:
            self._busy.release()
        return True


_team: _Team | None = None
_forked = False


def ready() -> bool:
    """Whether torch has threads that are likely to come at once."""
    global _team
    if _forked:
        return False
    if _team is None:
        openmp = _openmp()
        if openmp is None:
            return False
        _team = _Team(openmp)
    return _team.rest == 0


def rest() -> None:
    """Count a step that is left to others."""
    if _team is not None and _team.rest > 0:
        _team.rest -= 1


def run(kernel: int, arguments: int, pieces: int, threads: int, afterwards: int = 0) -> bool:
    """Call ``kernel(arguments, piece)`` for every piece, then ``afterwards(arguments)``, if any.

    `threads` is torch's number of threads. False, and nothing done, where somebody else is running
    something; only after :func:`ready`.
    """
    return _team is not None and _team.run(kernel, arguments, pieces, threads, afterwards)


def _forget() -> None:
    global _forked, _team
    _forked, _team = True, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
