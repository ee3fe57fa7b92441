"""Pieces of work that several threads take from one queue, until none is left.

A queue is memory that all of them share. What a kernel, its arguments and the number of pieces are
is written there before they begin; after that it counts who has taken what. All accesses are
sequentially consistent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from adamantine.backends.cpu.compiling.decorators import LINKED, njit_cached
from adamantine.backends.cpu.compiling.native import call1, call2, fetch_add, load, store

LINE = 64
"""Bytes: words that several threads write have a cache line of their own."""

WORK, CLAIMED, BACK, FREE = 0, LINE, 2 * LINE, 3 * LINE
"""What is to be done, how many pieces were asked for, how many of them by helpers; from `FREE` on
a queue is its owner's."""

_KERNEL, _JOB, _PIECES = WORK, WORK + 8, WORK + 16


def new_queue(size: int = FREE) -> tuple[NDArray[np.int64], int]:
    """Zeros, and the address in them where a queue of `size` bytes begins."""
    memory = np.zeros((size + LINE) // 8, np.int64)
    return memory, -(-memory.ctypes.data // LINE) * LINE


def put(memory: NDArray[np.int64], address: int, value: int) -> None:
    """Write the word at an address within `memory`, from Python."""
    memory[(address - memory.ctypes.data) // 8] = value


@njit(**LINKED)
def fill(queue: Any, kernel: Any, arguments: Any, pieces: Any) -> None:
    """Have ``kernel(arguments, piece)`` done for every piece."""
    store(queue + _KERNEL, kernel)
    store(queue + _JOB, arguments)
    store(queue + _PIECES, pieces)
    store(queue + CLAIMED, 0)
    store(queue + BACK, 0)


@njit(**LINKED)
def take_pieces(queue: Any, helping: Any) -> None:
    """Do pieces until none is left: the caller from the front, helpers from the back.

    So each comes upon about the same pieces in every step, and finds them in its core's cache.
    """
    kernel, arguments, pieces = load(queue + _KERNEL), load(queue + _JOB), load(queue + _PIECES)
    front = 0
    while fetch_add(queue + CLAIMED, 1) < pieces:
        if helping:
            call2(kernel, arguments, pieces - 1 - fetch_add(queue + BACK, 1))
        else:
            call2(kernel, arguments, front)
            front += 1


@njit_cached(nogil=True)
def run_alone(kernel, arguments, pieces, afterwards):
    """Do all of them on the calling thread."""
    for piece in range(pieces):
        call2(kernel, arguments, piece)
    if afterwards != 0:
        call1(afterwards, arguments)
