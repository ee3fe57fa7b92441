"""What compiled code is told: one block of words, most of them the addresses of arrays.

Handing Numba an array costs 0.2 µs, a step of a small network some 40; so the probe, the kernel and
what follows it get the address of this block alone. Whoever owns the arrays
(:class:`.tensor_probe.TensorProbe`) keeps them alive. T tensors have C columns: param, gradient,
states, the exponents of those states that are codes, and the counters last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

(
    TENSORS,  # T
    COLUMNS,  # C
    ELEMENTS,  # (C,) int64: DLPack's code of each column's dtype
    EXPONENTS,  # how many columns before the counters are exponents of codes: one to a block
    COUNTERS,  # how many of the columns are counters: 0-dimensional tensors such as `step`
    DEVICE,  # DLPack's code of the device that tensors are on
    COUNTING_DEVICE,  # the same of the counters
    READS_COUNTERS,  # whether the host may read them
    IDS,  # (T, C) int64: the tensor objects
    DICTS,  # (T,) int64: the dictionaries that hold a tensor's states and counters
    NAMES,  # (C,) int64: the names (str objects) that they have in there
    LAYOUTS,  # int64: shape and strides of one tensor after the other
    STARTS,  # (T + 1,) int64: where each one's begins
    GROUPS,  # (T,) int64: parameter group of each
    HINTS,  # (T, C) int64: memory that the probe will read
    ADDRESSES,  # (T, C) int64
    MOVED,  # (T, C) int64: the address that a tensor has instead; 0 where it has not moved
    MOVES,  # how many there are of these
    BYTES,  # (T, C) int64: how many it fills; 0 for gradients
    VALUES,  # (T, max(1, counters)) float64: the counters, as they were found
    STATUS,  # (T,) int64: what was found of each tensor
    ROWS,  # (T,) int64: which row of scalars it takes; below 0, it sits this step out
    COMMON,  # whether all that take part have the same counters
    CHUNKS,  # (chunks, 3) int64: tensor, offset, length
    PLACES,  # (chunks,) int64: of each one's first element, for random numbers
    BOUNDS,  # int64: piece p is the chunks from bounds[p] to bounds[p + 1]
    STEP_SCALARS,  # (rows, scalars) float64: a row for each group and set of counters
    NEXT,  # (rows, counters) float64: what the counters become
    FOUND,  # (chunks, …) float64: what a kernel that only reads found in each
    SUMS,  # (chunks, 3) float64: squares of gradient, update and parameter
    SAMPLED,  # (chunks, samples) float64: how far elements went by unit of gradient
    MATRICES,  # (T, 2 + vectors) int64: rows, columns, and addresses of numbers for each of them
    UNITS,  # (units, 6) int64: what sums along rows and columns are made of, piece by piece
    STREAMS,  # (T,) int64: what the random numbers of each tensor begin with
    FUNCTIONS,  # int64: addresses of the C functions that the probe calls
    NONE,  # the object None
    EXPORTED,  # a DLTensor's words: the tensor that the probe looks at
    WORDS,
) = range(38)


class KernelArguments:
    """The block of words, and the arrays that it points to."""

    def __init__(self) -> None:
        self._words = np.zeros(WORDS, np.int64)
        self._arrays: dict[int, NDArray[Any]] = {}
        self.address: int = self._words.ctypes.data

    def point(self, word: int, array: NDArray[Any]) -> None:
        """Let `word` hold the address of `array`, and keep that alive."""
        if self._arrays.get(word) is not array:
            self._arrays[word] = array
            self._words[word] = array.ctypes.data

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value

    def __getitem__(self, word: int) -> int:
        return self._words.item(word)
