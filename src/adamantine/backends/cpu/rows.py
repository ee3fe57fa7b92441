"""Rows of a table in main memory: one compiled call updates those that a gradient touches.

The same methods as :class:`adamantine.backends.rows.Rows`. Three compiled functions:

- `_sort` sorts a gradient's indices, with as many passes over them as a row's number has digits of
  11 bits. Equal ones come to stand together and in their order, so that duplicates are always added
  up alike; and rows that are visited in order share entries of the page tables, which is a third of
  the time (measured: 1.5 against 1.0 ms for 4,096 rows of a table of 256 MB, out of cold caches).
- `_run_piece` catches rows up and lets the rule update them, one row after the other. A row is some
  hundred bytes at a random place, so they are asked for ahead of time,
  many at once.
- `_record` adds a step to the sums of a window, for every start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numba import carray, njit
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu import pool
from adamantine.backends.cpu.compiling import called
from adamantine.backends.cpu.elements import ELEMENTS
from adamantine.backends.cpu.kernel import compile_kernel, digest, operations
from adamantine.backends.cpu.memory import (
    arrays_at,
    float64_pointer,
    int16_pointer,
    int32_pointer,
    int64_pointer,
    load,
    prefetch_into_l2,
    store,
)
from adamantine.backends.layout import check_memory
from adamantine.backends.window import LENGTH, Window
from adamantine.rules import Rule, bind
from adamantine.rules.catching_up import idle_of

SHARE = 65_536
"""Elements a thread; less than in a table, since rows come from all over memory."""

PIECES_PER_THREAD = 4

AHEAD = 32
"""Rows that are asked for at a time, before the first of them is needed."""

FAR = 512
"""Bytes of a row that are asked for; further on, the processor sees itself where it goes."""

DIGIT = 11  # bits; the counts of all its values stay in the first-level cache
BUCKETS = 1 << DIGIT

(
    WIDTH,  # elements a row
    BYTES,  # of a row
    COUNT,  # rows to go through
    PIECES,
    NUMBERS,  # (COUNT,) int64: which they are; 0 for all
    ORDER,  # int32: places of gradients among the values, row by row; 0: only catch up
    BEGINS,  # (COUNT + 1,) int32: where in there each row's begin
    GRADS,  # the values
    CONSTANTS,  # float64: the rule's scalars in this step
    LAST,  # int16: the clock at which each row was up to date; 0 where nobody catches up
    NOW,  # the clock
    HISTORY,  # (LENGTH, scalars) float64
    SUMS,  # (sums, LENGTH) float64
    COEFFICIENTS,  # (width of the idle form, LENGTH) float64
    STEP,  # float64: what `advance` and `coefficients` take, and one more, for it may be nothing
    TENSORS,  # and all words after: param and states
) = range(16)

# Replaced by `_compiled` for each rule; here so that the loops below read as what they are.
UPDATE: Any = None
ADVANCE: Any = None
DERIVE: Any = None
CATCH_UP: Any = None
COVERS: Any = None
ARRAYS: int = 0
SCALARS: int = 0
SUMMED: int = 0
ADVANCING: int = 0
GIVEN: int = 0
WIDE: int = 0
SAMPLE: Any = None
COMPUTE: Any = None
DOUBLE = np.float64(0)


@njit(cache=True)
def _sort(indices, rows, order, numbers, begins):
    """Sort the places of `indices` by row, stably, digit by digit; returns how many rows there are.

    The gradients of row ``numbers[k]`` stand at ``order[begins[k] : begins[k + 1]]``.
    """
    count = len(indices)
    source = np.arange(count, dtype=np.int32)
    shift = 0
    while rows >> shift > 0:
        places = np.zeros(BUCKETS + 1, np.int32)
        for j in range(count):
            places[(indices[j] >> shift & BUCKETS - 1) + 1] += 1
        for bucket in range(BUCKETS):
            places[bucket + 1] += places[bucket]
        for place in range(count):
            j = source[place]
            bucket = indices[j] >> shift & BUCKETS - 1
            order[places[bucket]] = j
            places[bucket] += 1
        source[:] = order
        shift += DIGIT
    distinct = 0
    for place in range(count):
        row = indices[order[place]]
        if distinct == 0 or numbers[distinct - 1] != row:
            numbers[distinct], begins[distinct] = row, place
            distinct += 1
    begins[distinct] = count
    return distinct


def _run_piece(job, piece):
    words = carray(int64_pointer(job), TENSORS)
    width, count, now = words[WIDTH], words[COUNT], words[NOW]
    begin = count * piece // words[PIECES]
    end = count * (piece + 1) // words[PIECES]
    pointers = to_fixed_tuple(carray(int64_pointer(job + 8 * TENSORS), ARRAYS), ARRAYS)
    updating, waiting = words[ORDER] != 0, words[LAST] != 0
    own = to_fixed_tuple(
        carray(float64_pointer(words[CONSTANTS]), SCALARS).astype(COMPUTE), SCALARS
    )
    numbers = carray(int64_pointer(words[NUMBERS]), count)
    last = carray(int16_pointer(words[LAST]), 1 << 62)
    begins = carray(int32_pointer(words[BEGINS]), count + 1)
    order = carray(int32_pointer(words[ORDER]), 1 << 62)
    history = carray(float64_pointer(words[HISTORY]), (LENGTH, SCALARS))
    coefficients = carray(float64_pointer(words[COEFFICIENTS]), (WIDE, LENGTH))
    values = np.empty(WIDE, COMPUTE)
    total = np.empty(width, COMPUTE)
    for k in range(begin, end):
        row = np.int64(k)
        if words[NUMBERS] != 0:
            row = numbers[k]
            if (k - begin) % AHEAD == 0:
                for near in range(k, min(k + AHEAD, end)):
                    for line in range(0, min(words[BYTES], FAR), 64):
                        for tensor in range(ARRAYS):
                            prefetch_into_l2(pointers[tensor] + words[BYTES] * numbers[near] + line)
                        if updating:
                            there = np.int64(order[begins[near]])
                            prefetch_into_l2(words[GRADS] + words[BYTES] * there + line)
        arrays = arrays_at(pointers, SAMPLE, row * width, width)
        if waiting:
            start = np.int64(last[row])
            while start < now:
                for c in range(WIDE):
                    values[c] = coefficients[c, start]
                known = to_fixed_tuple(values, WIDE)[1:]
                missing = 0
                if values[0] == 0:
                    for i in range(width):
                        missing += not COVERS(*(load(arrays, i) + known))
                if missing == 0:
                    for i in range(width):
                        store(arrays, i, CATCH_UP(*(load(arrays, i) + known)))
                    break
                # No closed form from here: the rule itself, with a gradient of zero.
                then = to_fixed_tuple(history[start].astype(COMPUTE), SCALARS)
                total[:] = 0
                stepped = (arrays[0], total) + arrays[1:]
                for i in range(width):
                    store(arrays, i, UPDATE(*(load(stepped, i) + then)))
                start += 1
            last[row] = now + updating
        if updating:
            begun, ended = np.int64(begins[k]), np.int64(begins[k + 1])
            grad = arrays_at((words[GRADS],), SAMPLE, width * order[begun], width)
            if ended - begun == 1:
                alone = (arrays[0],) + grad + arrays[1:]
                for i in range(width):
                    store(arrays, i, UPDATE(*(load(alone, i) + own)))
                continue
            for i in range(width):
                total[i] = load(grad, i)[0]
            for place in range(begun + 1, ended):
                more = arrays_at((words[GRADS],), SAMPLE, width * order[place], width)
                for i in range(width):
                    total[i] += load(more, i)[0]
            summed = (arrays[0], total) + arrays[1:]
            for i in range(width):
                store(arrays, i, UPDATE(*(load(summed, i) + own)))


def _record(job, piece):
    words = carray(int64_pointer(job), TENSORS)
    length = words[NOW]
    given = to_fixed_tuple(carray(float64_pointer(words[STEP]), GIVEN), GIVEN)
    step, constant = given[:ADVANCING], given[ADVANCING:-1]
    columns = 8 * LENGTH * np.arange(max(SUMMED, WIDE))
    sums = arrays_at(to_fixed_tuple(words[SUMS] + columns, SUMMED), DOUBLE, 0, length)
    out = arrays_at(to_fixed_tuple(words[COEFFICIENTS] + columns, WIDE), DOUBLE, 0, length)
    for i in range(length):
        store(sums, i, ADVANCE(*(load(sums, i) + step)))
    for i in range(length):
        store(out, i, DERIVE(*(load(sums, i) + constant)))


@cache
def _compiled(rule: Rule, dtype: torch.dtype) -> tuple[int, int, Any]:
    """Addresses of the compiled `_run_piece` and `_record` of a rule, and what keeps them alive."""
    kept = [compile_kernel(specialised(loop, rule, dtype)) for loop in (_run_piece, _record)]
    return kept[0].address, kept[1].address, kept


def specialised(loop: Callable[..., None], rule: Rule, dtype: torch.dtype) -> FunctionType:
    """One of the two loops with `rule` and its idle form in the middle; not compiled yet."""
    idle = idle_of(rule)
    functions = {
        "UPDATE": rule.update,
        "ADVANCE": idle.advance,
        "DERIVE": idle.coefficients,
        "CATCH_UP": idle.catch_up,
        "COVERS": idle.covers,
    }
    described = {
        "ARRAYS": 1 + len(rule.states),
        "SCALARS": len(rule.scalars),
        "SUMMED": len(idle.start),
        "ADVANCING": len(idle.scalars),
        "GIVEN": len(idle.scalars) + len(idle.constant) + 1,
        "WIDE": idle.width,
        "SAMPLE": ELEMENTS[dtype].sample,
        "COMPUTE": ELEMENTS[dtype].compute,
    }
    bound = {name: bind(f, operations(), called) for name, f in functions.items()}
    end = digest((described, dtype, LENGTH), *functions.values())
    name = f"{rule.name}{loop.__name__}_{end}"
    function = FunctionType(loop.__code__, {**globals(), **bound, **described}, name)
    function.__qualname__ = name
    return function


class CompiledRows:
    """A parameter and its states, as rows that a sparse gradient picks from.

    Parameters
    ----------
    rule
        What updates a row.
    param, states
        Contiguous tensors of one shape and dtype that :func:`.table.refusal` lets pass, the states
        in the rule's order.
    dims
        How many of the leading dimensions number the rows.
    """

    def __init__(self, rule: Rule, param: Tensor, states: Sequence[Tensor], dims: int) -> None:
        self._rule = rule
        self._shape = param.shape
        self._dims = dims
        self._width = param.shape[dims:].numel()
        self._tensors = [param, *states]
        self._piece, self._recorder, _ = _compiled(rule, param.dtype)
        self._words = np.zeros(TENSORS + len(self._tensors), np.int64)

    def update(self, grad: Tensor, scalars: Mapping[str, Any], window: Window | None) -> None:
        """Let the rule update the rows of `grad`, after catching them up if there is a `window`."""
        threads = self._threads(grad._nnz())
        pool.wake(threads)
        values = grad._values().resolve_neg().contiguous()
        numbers, order, begins = self._sorted(
            _numbered(grad._indices(), self._shape[: self._dims]), grad.is_coalesced()
        )
        words = self._describe(window, numbers)
        words[ORDER], words[BEGINS] = order.ctypes.data, begins.ctypes.data
        words[GRADS] = values.data_ptr()
        constants = np.array([scalars[name] for name in self._rule.scalars], np.float64)
        words[CONSTANTS] = constants.ctypes.data
        self._run(threads)

    def catch_up(self, window: Window, numbers: Tensor | None = None) -> bool:
        """Let rows (all, or those numbered, twice or not) do the steps that they missed.

        Returns whether there were any.
        """
        waiting = window.last if numbers is None else window.last[numbers]
        if not bool((waiting < window.now).any()):
            return False
        threads = self._threads(len(waiting))
        pool.wake(threads)
        chosen = None
        if numbers is not None:
            # Each row once, for two threads must not meet in it.
            chosen, *_ = self._sorted(numbers.contiguous().numpy(), False)
        words = self._describe(window, chosen)
        words[ORDER] = 0
        constants = np.zeros(len(self._rule.scalars))
        words[CONSTANTS] = constants.ctypes.data
        self._run(threads)
        return True

    def record(self, window: Window, scalars: Mapping[str, Any]) -> None:
        """Add the step that was just done to what waiting rows have missed."""
        step, constant = window.record(scalars)
        given = np.array([*step, *constant, 0.0], np.float64)
        words = self._describe(window, None)
        words[STEP] = given.ctypes.data
        pool.run(self._recorder, words.ctypes.data, 1, 1)

    def _sorted(
        self, indices: NDArray[np.int64], already: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """The distinct rows among `indices`, and where their gradients stand; see `_sort`."""
        count = len(indices)
        order = np.arange(count, dtype=np.int32)
        begins = np.arange(count + 1, dtype=np.int32)
        if already:
            return indices, order, begins
        numbers = np.empty_like(indices)
        distinct = _sort(indices, self._shape[: self._dims].numel(), order, numbers, begins)
        return numbers[:distinct], order, begins

    def _threads(self, rows: int) -> int:
        return max(1, min(torch.get_num_threads(), rows * self._width // SHARE))

    def _describe(
        self, window: Window | None, numbers: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Fill in the words, with the addresses that things have now."""
        words = self._words
        for index, tensor in enumerate(self._tensors):
            check_memory("a parameter or its state", tensor)
            words[TENSORS + index] = tensor.data_ptr()
        words[WIDTH] = self._width
        words[BYTES] = self._width * self._tensors[0].element_size()
        if numbers is None:
            words[COUNT], words[NUMBERS] = self._shape[: self._dims].numel(), 0
        else:
            words[COUNT], words[NUMBERS] = len(numbers), numbers.ctypes.data
        if window is None:
            words[LAST] = words[NOW] = 0
        else:
            words[LAST], words[NOW] = window.last.data_ptr(), window.now
            words[HISTORY] = window.history.ctypes.data
            words[SUMS] = window.sums.ctypes.data
            words[COEFFICIENTS] = window.coefficients.ctypes.data
        return words

    def _run(self, threads: int) -> None:
        pieces = 1 if threads == 1 else PIECES_PER_THREAD * threads
        self._words[PIECES] = pieces
        pool.run(self._piece, self._words.ctypes.data, pieces, threads)


def _numbered(indices: Tensor, shape: Sequence[int]) -> NDArray[np.int64]:
    """The rows' numbers, where several dimensions number them."""
    number = indices[0]
    for index, size in zip(indices[1:], shape[1:], strict=True):
        number = number * size + index
    return number.contiguous().numpy()
