"""Loops of rules with numbers for rows and columns: an element beside its row's and its column's.

A chunk of memory is walked row by row: then a row's numbers are the same for an inner loop, and the
columns' are next to each other. Sums along rows and columns are made in units that follow from a
matrix's shape alone, so that nothing depends on chunks; the host adds them up in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray
from numba.np.unsafe.ndarray import to_fixed_tuple

from adamantine.backends.cpu.compiling.decorators import njit_called
from adamantine.backends.cpu.compiling.memory import (
    arrays_at,
    float64_pointer,
    int64_pointer,
    load,
    store,
)
from adamantine.backends.cpu.kernel.arguments import FOUND, MATRICES, UNITS
from adamantine.backends.cpu.kernel.step_statistics import added, after, leave, nothing, plus
from adamantine.backends.cpu.kernel.sums import PART, PARTS, leave_sums, no_sums
from adamantine.rules.rule import Kind

UNIT = 6
"""Words of a unit: its first element, rows, columns, those of the matrix, and where its sums along
rows and along columns go."""

# Replaced for each kernel, as those in `kernel`.
FORMULA: Any = None
SAMPLES: Any = None
NUMBER: Any = None
ADDED: Any = None
TERM: Any = None
TERMS: Any = ()
COMPUTE: Any = None
COLLECT_STATS: bool = False
ARRAYS: int = 0
SECOND: int = 0

LEAD: int = 2  # tensors before what is for rows and columns
DOWN: int = 1  # numbers for rows,
BESIDE: int = 1  # of which so many are states, and the others stand among the scalars,
PLACE: int = 0  # here
BEHIND: int = 0  # and end here
ACROSS: int = 1  # numbers for columns, all of which are states
KNOWN: int = 4  # words of a matrix
RESULTS: int = 3  # where results of tensors go on after these

NOTHING = np.float64(0)


def _update_factored(words, tensor, chunk, offset, length, pointers, own):
    known = carray(
        int64_pointer(words[MATRICES] + 8 * (2 + DOWN + ACROSS) * tensor), 2 + DOWN + ACROSS
    )
    rows, columns = known[0], known[1]
    below = to_fixed_tuple(known[2:], DOWN)
    beside = to_fixed_tuple(known[2 + DOWN :], ACROSS)
    sums = nothing(COMPUTE(0))
    start = offset
    while start < offset + length:
        row = start // columns
        column = start - row * columns
        stretch = min(columns - column, offset + length - start)
        arrays = arrays_at(pointers, SAMPLES, start, stretch)
        written = (arrays[0],) + arrays[2:]
        across = arrays_at(beside, COMPUTE(0), row // rows * columns + column, stretch)
        down = load(arrays_at(below, COMPUTE(0), row, 1), 0)
        scalars = own[:PLACE] + down[BESIDE:] + own[BEHIND:]
        for i in range(stretch):
            given = load(arrays, i)
            results = FORMULA(
                *(given[:LEAD] + down[:BESIDE] + load(across, i) + given[LEAD:] + scalars)
            )
            store(written, i, results[:1] + results[RESULTS:])
            if COLLECT_STATS:
                before = NUMBER(*(given[:1] + given[SECOND:]))
                now = NUMBER(*after(arrays[:1] + arrays[SECOND:], i, results[0]))
                sums = added(sums, before, given[1], now)
        start += stretch
    if COLLECT_STATS:
        leave(words, chunk, sums)


def _sum_factored(words, tensor, chunk, offset, length, pointers, own):
    known = carray(
        int64_pointer(words[MATRICES] + 8 * (2 + DOWN + ACROSS) * tensor), 2 + DOWN + ACROSS
    )
    rows, columns = known[0], known[1]
    below = to_fixed_tuple(known[2:], DOWN)
    beside = to_fixed_tuple(known[2 + DOWN :], ACROSS)
    for part in range(0, length, PART):
        end = offset + min(part + PART, length)
        sums = no_sums(TERMS)
        start = offset + part
        while start < end:
            row = start // columns
            column = start - row * columns
            stretch = min(columns - column, end - start)
            arrays = arrays_at(pointers, SAMPLES, start, stretch)
            across = arrays_at(beside, COMPUTE(0), row // rows * columns + column, stretch)
            down = load(arrays_at(below, COMPUTE(0), row, 1), 0)
            scalars = own[:PLACE] + down[BESIDE:] + own[BEHIND:]
            for i in range(stretch):
                given = load(arrays, i)
                terms = FORMULA(
                    *(given[:LEAD] + down[:BESIDE] + load(across, i) + given[LEAD:] + scalars)
                )
                sums = ADDED(sums, terms)
            start += stretch
        leave_sums(words, (chunk * PARTS + part // PART) * len(TERMS), sums)


def _sum_along(words, tensor, chunk, offset, length, pointers, own):
    unit = carray(int64_pointer(words[UNITS] + 8 * UNIT * chunk), UNIT)
    count, width = unit[1], unit[2]
    down = carray(float64_pointer(words[FOUND] + 8 * unit[4]), count)
    across = carray(float64_pointer(words[FOUND] + 8 * unit[5]), width)
    for row in range(count):
        arrays = arrays_at(pointers, SAMPLES, unit[0] + row * unit[3], width)
        total = NOTHING
        for i in range(width):
            term = TERM(FORMULA(*(load(arrays, i) + own)))
            across[i] += term
            total = plus(total, term)
        down[row] = total


def _wide(x):
    return np.float64(x)


def _square(x):
    wide = np.float64(x)
    return wide * wide


def _one(x):
    return np.float64(x > 0)


TERM_OF: dict[Kind, Callable[..., Any]] = {
    "sum": njit_called(_wide),
    "squares": njit_called(_square),
    "count": njit_called(_one),
}
