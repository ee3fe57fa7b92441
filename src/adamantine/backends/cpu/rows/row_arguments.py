"""The words that the loops of :mod:`.rows.kernels` read, and the arrays that they point to."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.probe.compiled_probe import exporter, functions
from adamantine.backends.cpu.rows import kernels as rows
from adamantine.backends.cpu.rows import row_probe
from adamantine.backends.cpu.threads import parallel
from adamantine.backends.missed_steps import MissedSteps

MIN_PER_THREAD = 65_536
"""Elements for each thread of our own; less than in a table, as rows come from all over memory."""

PIECES_PER_THREAD = 4

KEPT = 1 << 17
"""Words of scratch memory that are kept from one step to the next: a megabyte."""

# Packed, not assigned: NumPy takes a microsecond to write a row.
_GIVEN = struct.Struct("7q")  # a block's words up to `VALUES`
_NOTHING = (0, 0, 0, 0, 0, 0, 0)


class RowArguments:
    """A head, and a block for each table.

    Parameters
    ----------
    shapes
        Of the tables.
    states
        How many there are beside the parameter.

    Attributes
    ----------
    blocks
        ``(tables, words)``; the addresses in them are those of the step.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], states: int) -> None:
        self.blocks = np.zeros((len(shapes), rows.TENSORS + 1 + states), np.int64)
        self._buffer, self._bytes = self.blocks.data.cast("B"), self.blocks.strides[0]
        self._states = states
        self._head = np.zeros(rows.HEAD, np.int64)
        self._address: int = self._head.ctypes.data
        self._arrays: dict[int, NDArray[Any]] = {}
        self._head[rows.TABLES], self._head[rows.STEP_OF_BLOCKS] = len(shapes), self._bytes
        self.point(rows.BLOCKS, self.blocks)
        # One more, for there may be none.
        self._sizes = np.array([*(size for shape in shapes for size in shape), 0], np.int64)
        lengths = list(map(len, shapes))
        self.blocks[:, rows.NDIM] = lengths
        begins = np.cumsum([0, *lengths[:-1]])
        self.blocks[:, rows.SIZES] = self._sizes.ctypes.data + 8 * begins
        self._given = 0  # indices, of all tables
        self._room = 0  # words of the largest array that only a step needs
        self._missed_steps: list[tuple[MissedSteps, tuple[int, ...]] | None] = [None] * len(shapes)

    def point(self, word: int, array: NDArray[Any]) -> None:
        """Let a word of the head hold the address of `array`, and keep that alive."""
        if self._arrays.get(word) is not array:
            self._arrays[word] = array
            self._head[word] = array.ctypes.data

    def place_addresses(self, addresses: NDArray[np.int64]) -> None:
        """Where each step finds the tensors: param, gradient and states, and perhaps others."""
        self.point(rows.ADDRESSES, addresses)
        self._head[rows.COLUMNS] = addresses.shape[1]

    def look(self, indices: list[Any], values: list[Any], element: int) -> bool:
        """Let each table go through the rows in `indices`, with these gradients; None sits out.

        `element` is DLPack's code of the values' type. False where they are not as
        compiled code takes them, or torch does not say: then :meth:`give` each.
        """
        if not exporter():
            return False
        self._given = row_probe.look(
            self._address, functions(), id(indices), id(values), id(None), element
        )
        return self._given >= 0

    def give(self, table: int, indices: Tensor | None, values: Tensor | None, size: int) -> None:
        """Let a table go through the rows in `indices`; none where that is None.

        `values` are the gradients, of `size` elements; None where rows only catch up.
        """
        if table == 0:
            self._given = 0
        given = _NOTHING
        if indices is not None:
            address = 0 if values is None else values.data_ptr()
            given = (indices.data_ptr(), *indices.stride(), *indices.shape, address, size)
            self._given += indices.shape[1]
        _GIVEN.pack_into(self._buffer, table * self._bytes, *given)

    def give_all(self, dims: int, element: int) -> None:
        """Let the first table go through all of its rows, to catch up, instead of :meth:`gather`.

        Its elements have that many bytes.
        """
        words, sizes = self.blocks[0], self._sizes[: self.blocks[0, rows.NDIM]]
        count, width = int(sizes[:dims].prod()), int(sizes[dims:].prod())
        self.give(0, None, None, 0)
        words[rows.WIDTH], words[rows.BYTES] = width, width * element
        words[rows.COUNT], words[rows.START], words[rows.NUMBERS] = count, 0, 0
        self._head[rows.WEIGHT], self._head[rows.WIDEST] = count * max(1, width), max(1, width)

    def gather(self, element: int) -> int:
        """Read and sort all that was given; returns the first table that has a bad index, or -1.

        Elements have that many bytes.
        """
        self._make_room(rows.SCRATCH, rows.scratch_words(len(self.blocks), self._given))
        return int(rows.gather(self._address, element, self._states))

    @property
    def weight(self) -> int:
        """How many elements :meth:`run` goes through."""
        return self._head.item(rows.WEIGHT)

    def wait(self, table: int, missed: MissedSteps) -> None:
        """Let rows of a table catch up, or the sums of its missed steps get one more."""
        known = self._missed_steps[table]
        if known is None or known[0] is not missed:
            # Its arrays live as long as it does.
            arrays = (missed.history, missed.sums, missed.coefficients)
            known = self._missed_steps[table] = (missed, tuple(a.ctypes.data for a in arrays))
        self.blocks[table, rows.LAST : rows.COEFFICIENTS + 1] = (
            missed.last.data_ptr(), missed.now, *known[1],
        )  # fmt: skip

    def run(self, kernel: int, threads: int) -> None:
        """Go through the rows."""
        pieces = 1 if threads == 1 else PIECES_PER_THREAD * threads
        self._head[rows.PIECES] = pieces
        self._make_room(rows.TOTALS, pieces * self._head.item(rows.WIDEST))
        parallel.run(kernel, self._address, pieces, threads)

    def record(self, kernel: int, threads: int) -> None:
        """Add a step to the sums of all tables' missed steps."""
        parallel.run(kernel, self._address, len(self.blocks), threads)

    def release(self) -> None:
        """Let go of memory that a large step has taken."""
        if self._room > KEPT:
            self._room = 0
            for word in (rows.SCRATCH, rows.TOTALS):
                self._arrays.pop(word, None)

    def _make_room(self, word: int, words: int) -> None:
        array = self._arrays.get(word)
        if array is None or len(array) < words:
            self.point(word, np.empty(max(words, 1), np.int64))
            self._room = max(self._room, words)
