"""Rows of tables in main memory: the compiled loops that update those that gradients touch.

What an optimizer updates by one rule is told by a head of words, and a block of words for each
table. :mod:`.row_table` fills them in. Three compiled functions read them:

- `gather` reads the indices of all gradients, before anything is written. It refuses what is no row
  of its table, and sorts the others, with as many passes over them as a row's number has digits of
  at most 11 bits (8, where there are few indices). Equal ones come to stand together and in their
  order, so that duplicates are always added up alike; and rows that are visited in order share
  entries of the page tables, which is a third of the time (measured: 1.5 against 1.0 ms for 4,096
  rows of a table of 256 MB, out of cold caches).
- `_run_piece` catches rows up and lets the rule update them, one row after the other. A row is some
  hundred bytes at a random place, so they are asked for ahead of time, many at once.
- `_record` adds a step to the sums of missed steps, for every start.

Rows that never wait have a `_run_piece` without the closed form, and no `_record`. What compiles is
most of a first step, so the loops do without NumPy's functions where plain ones do as well: sorting
with three of them took 2.6 seconds to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from adamantine.backends.cpu.compiling.decorators import OPTIONS, njit_cached, njit_called
from adamantine.backends.cpu.compiling.elements import ELEMENTS
from adamantine.backends.cpu.compiling.memory import (
    arrays_at,
    column_at,
    int16_pointer,
    int32_pointer,
    int64_pointer,
    load,
    pointer_like,
    prefetch_into_l2,
    store,
    store_column,
    tuple_at,
)
from adamantine.backends.cpu.kernel.kernel import Kernel, compile_kernel, digest, operations
from adamantine.backends.missed_steps import LENGTH
from adamantine.rules import Rule, bind
from adamantine.rules.catch_up.by_rule import catch_up_of

AHEAD = 32
"""Rows that are asked for at a time, before the first of them is needed."""

FAR = 512
"""Bytes of a row that are asked for; further on, the processor sees itself where it goes."""

DIGIT = 11  # bits; the counts of all its values stay in the first-level cache
FEW, SHORT_DIGIT = 512, 8
"""Up to so many indices, it takes longer to go through the counts than through the indices."""

COUNTS = (1 << DIGIT) // 2 + 1
"""Words of the counts of a digit's values, which are half a word each."""

# The head of the arguments.
(
    TABLES,
    BLOCKS,  # address of the tables' blocks
    STEP_OF_BLOCKS,  # bytes from one to the next
    PIECES,
    SCRATCH,  # `scratch_words` words
    TOTALS,  # room for one row a piece, of 8 bytes an element
    WEIGHT,  # elements of all rows to go through
    WIDEST,  # elements of the longest row
    ADDRESSES,  # (TABLES, COLUMNS) int64, as :mod:`.kernel.arguments`; 0: they are in the blocks
    COLUMNS,
    ROWS,  # (TABLES,) int64: which row of scalars each takes; below 0, it sits this step out
    STEP_SCALARS,  # (rows, scalars) float64: the rule's scalars
    SUM_SCALARS,  # (rows, scalars) float64: what `advance` and `coefficients` take
    HEAD,
) = range(14)

# The block of a table.
(
    INDICES,  # int64 (DIMS, GIVEN), with the strides that follow
    STRIDE_OF_DIMS,
    STRIDE,
    DIMS,  # how many of the leading dimensions number the rows
    GIVEN,  # indices
    GRADS,  # the values, (GIVEN, WIDTH), contiguous; 0: only catch up
    VALUES,  # how many there are
    # So far what is looked up in Python, and from here on by `gather`.
    WIDTH,  # elements a row
    BYTES,  # of a row
    COUNT,  # rows to go through
    START,  # elements of the tables before
    NUMBERS,  # (COUNT,) int64: which rows they are; 0 for all
    ORDER,  # int32: places of gradients among the values, row by row
    BEGINS,  # (COUNT + 1,) int32: where in there each row's begin
    SIZES,  # int64: the shape of the table
    NDIM,
    # Where rows may wait, the steps they missed:
    LAST,  # int16: the clock at which each row was up to date
    NOW,  # the clock
    HISTORY,  # (LENGTH, scalars) float64
    SUMS,  # (sums, LENGTH) float64
    COEFFICIENTS,  # (width of the closed form, LENGTH) float64
    TENSORS,  # and all words after: param and states
) = range(22)

# Replaced by `specialised` for each rule; here so that the loops below read as what they are.
UPDATE: Any = None
ADVANCE: Any = None
DERIVE: Any = None
CATCH_UP: Any = None
COVERS: Any = None
CATCH_ROW_UP: Any = None
EXACT: bool = False
ARRAYS: int = 0
SCALARS: int = 0
SUMMED: int = 0
ADVANCING: int = 0
CONSTANT: int = 0
WIDE: int = 0
SAMPLE: Any = None
COMPUTE: Any = None
WORD, DOUBLE = np.int64(0), np.float64(0)


def scratch_words(tables: int, indices: int) -> int:
    """What `gather` needs, and leaves things in for the loops that come after it."""
    return COUNTS + 4 * indices + 4 * tables


@njit_cached()
def gather(arguments, size, states):
    """Read and sort the indices of all tables; returns the first that has one out of bounds, or -1.

    The gradients of row ``NUMBERS[k]`` stand at ``ORDER[BEGINS[k] : BEGINS[k + 1]]``. `size` is the
    bytes of an element, and `states` their number.
    """
    head = carray(int64_pointer(arguments), HEAD)
    counts = carray(int32_pointer(head[SCRATCH]), 2 * COUNTS)
    free = head[SCRATCH] + 8 * COUNTS
    head[WEIGHT], head[WIDEST] = 0, 1
    for table in range(head[TABLES]):
        words = carray(
            int64_pointer(head[BLOCKS] + head[STEP_OF_BLOCKS] * table), TENSORS + 1 + states
        )
        if head[ADDRESSES] != 0:
            addresses = head[ADDRESSES] + 8 * head[COLUMNS] * table
            for tensor in range(1 + states):
                column = tensor + 1 if tensor > 0 else 0  # the gradient's comes second
                words[TENSORS + tensor] = carray(int64_pointer(addresses + 8 * column), 1)[0]
        count, dims = words[GIVEN], words[DIMS]
        sizes = carray(int64_pointer(words[SIZES]), words[NDIM])
        rows, width = 1, 1
        for dim in range(words[NDIM]):
            if dim < dims:
                rows *= sizes[dim]
            else:
                width *= sizes[dim]
        words[WIDTH], words[BYTES] = width, size * width
        words[START], words[COUNT] = head[WEIGHT], 0
        if words[VALUES] != count * width:
            return table
        keys = carray(int64_pointer(free), count)
        words[NUMBERS] = free + 8 * count
        words[ORDER] = free + 16 * count
        words[BEGINS] = free + 20 * count
        numbers = carray(int64_pointer(words[NUMBERS]), count)
        order = carray(int32_pointer(words[ORDER]), count)
        begins = carray(int32_pointer(words[BEGINS]), count + 1)
        spare = carray(int32_pointer(free + 24 * count + 8), count)
        free += 32 * count + 32
        before, ascending = -1, True
        for j in range(count):
            row = 0
            for dim in range(dims):
                where = words[INDICES] + 8 * (words[STRIDE_OF_DIMS] * dim + words[STRIDE] * j)
                index = carray(int64_pointer(where), 1)[0]
                if index < 0 or index >= sizes[dim]:
                    return table
                row = row * sizes[dim] + index
            if row <= before:
                ascending = False
            before = row
            keys[j] = row
            order[j] = j
        bits = 0
        while rows >> bits > 0:
            bits += 1
        passes = (bits + DIGIT - 1) // DIGIT
        if count <= FEW:
            passes = (bits + SHORT_DIGIT - 1) // SHORT_DIGIT
        if ascending:
            passes = 0
        for turn in range(passes):
            # Digits of about the same length: `passes` of them, and no longer than they must be.
            shift, buckets = bits * turn // passes, 1 << (bits + passes - 1) // passes
            for bucket in range(buckets + 1):
                counts[bucket] = 0
            for j in range(count):
                counts[(keys[j] >> shift & buckets - 1) + 1] += 1
                spare[j] = order[j]
            for bucket in range(buckets):
                counts[bucket + 1] += counts[bucket]
            for place in range(count):
                j = spare[place]
                bucket = keys[j] >> shift & buckets - 1
                order[counts[bucket]] = j
                counts[bucket] += 1
        distinct = 0
        for place in range(count):
            row = keys[order[place]]
            if distinct == 0 or numbers[distinct - 1] != row:
                numbers[distinct], begins[distinct] = row, place
                distinct += 1
        begins[distinct] = count
        words[COUNT] = distinct
        head[WEIGHT] += distinct * (width if width > 0 else 1)
        if width > head[WIDEST]:
            head[WIDEST] = width
    return -1


def _run_piece(arguments, piece):
    head = carray(int64_pointer(arguments), HEAD)
    low = head[WEIGHT] * piece // head[PIECES]
    high = head[WEIGHT] * (piece + 1) // head[PIECES]
    where = pointer_like(head[TOTALS] + 8 * head[WIDEST] * piece, COMPUTE(0))
    total = carray(where, head[WIDEST])
    rows = carray(int64_pointer(head[ROWS]), head[TABLES])
    for table in range(head[TABLES]):
        if rows[table] < 0:
            continue
        block = head[BLOCKS] + head[STEP_OF_BLOCKS] * table
        words = carray(int64_pointer(block), TENSORS)
        width, start, count, now = words[WIDTH], words[START], words[COUNT], words[NOW]
        weight = width if width > 0 else 1
        # A row belongs to the piece that its first element falls into.
        begin, end = 0, count
        if start < low:
            begin = (low - start + weight - 1) // weight
        if start + count * weight > high:
            end = (high - start + weight - 1) // weight
        pointers = tuple_at(block + 8 * TENSORS, ARRAYS, WORD, WORD)
        own = tuple_at(head[STEP_SCALARS] + 8 * SCALARS * rows[table], SCALARS, DOUBLE, COMPUTE(0))
        numbers = carray(int64_pointer(words[NUMBERS]), count)
        begins = carray(int32_pointer(words[BEGINS]), count + 1)
        order = carray(int32_pointer(words[ORDER]), words[GIVEN])
        updating = words[GRADS] != 0
        for k in range(begin, end):
            row = k
            if words[NUMBERS] != 0:
                row = numbers[k]
                if (k - begin) % AHEAD == 0:
                    far = words[BYTES] if words[BYTES] < FAR else FAR
                    for near in range(k, k + AHEAD if k + AHEAD < end else end):
                        for line in range(0, far, 64):
                            for tensor in range(ARRAYS):
                                prefetch_into_l2(
                                    pointers[tensor] + words[BYTES] * numbers[near] + line
                                )
                            if updating:
                                there = np.int64(order[begins[near]])
                                prefetch_into_l2(words[GRADS] + words[BYTES] * there + line)
            arrays = arrays_at(pointers, SAMPLE, row * width, width)
            if EXACT:
                last = carray(int16_pointer(words[LAST]), row + 1)
                CATCH_ROW_UP(words, arrays, total, np.int64(last[row]), now, width)
                last[row] = now + updating
            if updating:
                begun, ended = begins[k], begins[k + 1]
                grad = arrays_at((words[GRADS],), SAMPLE, width * order[begun], width)
                for i in range(width):
                    total[i] = load(grad, i)[0]
                for place in range(begun + 1, ended):
                    more = arrays_at((words[GRADS],), SAMPLE, width * order[place], width)
                    for i in range(width):
                        total[i] += load(more, i)[0]
                summed = (arrays[0], total) + arrays[1:]
                for i in range(width):
                    store(arrays, i, UPDATE(*(load(summed, i) + own)))


def _catch_row_up(words, arrays, total, start, now, width):
    while start < now:
        coefficients = column_at(words[COEFFICIENTS], start, WIDE, LENGTH, COMPUTE(0))
        known = coefficients[1:]
        missing = 0
        if coefficients[0] == 0:
            for i in range(width):
                missing += not COVERS(*(load(arrays, i) + known))
        if missing == 0:
            for i in range(width):
                store(arrays, i, CATCH_UP(*(load(arrays, i) + known)))
            break
        # No closed form from here: the rule itself, with a gradient of zero.
        then = tuple_at(words[HISTORY] + 8 * SCALARS * start, SCALARS, DOUBLE, COMPUTE(0))
        for i in range(width):
            total[i] = 0
        stepped = (arrays[0], total) + arrays[1:]
        for i in range(width):
            store(arrays, i, UPDATE(*(load(stepped, i) + then)))
        start += 1


def _record(arguments, table):
    head = carray(int64_pointer(arguments), HEAD)
    words = carray(int64_pointer(head[BLOCKS] + head[STEP_OF_BLOCKS] * table), TENSORS)
    row = carray(int64_pointer(head[ROWS]), head[TABLES])[table]
    if row < 0:
        return
    given = head[SUM_SCALARS] + 8 * (ADVANCING + CONSTANT) * row
    step = tuple_at(given, ADVANCING, DOUBLE, DOUBLE)
    constant = tuple_at(given + 8 * ADVANCING, CONSTANT, DOUBLE, DOUBLE)
    for i in range(words[NOW]):
        sums = ADVANCE(*(column_at(words[SUMS], i, SUMMED, LENGTH, DOUBLE) + step))
        store_column(words[SUMS], i, LENGTH, sums)
    for i in range(words[NOW]):
        sums = column_at(words[SUMS], i, SUMMED, LENGTH, DOUBLE)
        store_column(words[COEFFICIENTS], i, LENGTH, DERIVE(*(sums + constant)))


@cache
def compiled(rule: Rule, dtype: torch.dtype, exact: bool) -> Kernel:
    """The loop that updates rows; where they may wait, catches them up before."""
    return compile_kernel(specialised(_run_piece, rule, dtype, exact))


@cache
def compiled_record(rule: Rule) -> Kernel:
    """The loop that adds a step to the sums; a piece is a table."""
    return compile_kernel(specialised(_record, rule, torch.float64, True))


def specialised(
    loop: Callable[..., None], rule: Rule, dtype: torch.dtype, exact: bool
) -> FunctionType:
    """One of the two loops with `rule` and its catch-up in the middle; not compiled yet."""
    catch_up = catch_up_of(rule)
    functions = {"UPDATE": rule.update}
    if exact:
        functions |= {
            "ADVANCE": catch_up.advance,
            "DERIVE": catch_up.coefficients,
            "CATCH_UP": catch_up.apply,
            "COVERS": catch_up.covers,
        }
    described = {
        "EXACT": exact,
        "ARRAYS": 1 + len(rule.states),
        "SCALARS": len(rule.scalars),
        "SUMMED": len(catch_up.start),
        "ADVANCING": len(catch_up.scalars),
        "CONSTANT": len(catch_up.constant),
        "WIDE": catch_up.width,
        "SAMPLE": ELEMENTS[dtype].sample,
        "COMPUTE": ELEMENTS[dtype].compute,
    }
    scope = {**globals(), **described}
    scope |= {name: bind(f, operations(), njit_called) for name, f in functions.items()}
    end = digest((described, dtype, LENGTH), *functions.values())
    if exact:
        row = FunctionType(_catch_row_up.__code__, scope, f"{rule.name}_catch_row_up_{end}")
        row.__qualname__ = row.__name__
        scope["CATCH_ROW_UP"] = njit(inline="always", **OPTIONS)(row)
    name = f"{rule.name}{loop.__name__}_{end}"
    function = FunctionType(loop.__code__, scope, name)
    function.__qualname__ = name
    return function
