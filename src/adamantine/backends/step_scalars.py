"""A step's scalars, in a row for each parameter group and set of counters."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adamantine.rules import Rule

ScalarsOf = Callable[..., Mapping[str, Any]]
"""(group, step, further counters) to the rule's host scalars by name, and the counters' new values
where they are not simply counted up."""


class Found(Protocol):
    """What a look at T tensors has found.

    Attributes
    ----------
    values
        ``(T, max(1, counters))`` float64: the counters.
    rows
        ``(T,)`` int64: which of the table's groups a tensor is of; below 0, it sits the step out.
    common
        Whether all take part, and all have the same counters.
    """

    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    common: bool


class StepScalars:
    """The rows of scalars of a table.

    Parameters
    ----------
    rule
        Has the scalars' names.
    counters
        The counters' names.
    groups
        The parameter groups that tensors are of.

    Attributes
    ----------
    rows
        ``(rows, scalars)`` float64.
    following
        ``(rows, counters)`` float64: what the counters become.
    """

    def __init__(self, rule: Rule, counters: Sequence[str], groups: Sequence[int]) -> None:
        self._groups, self._counters = groups, counters
        # Packed, not assigned: NumPy takes a microsecond to write a row, which is 2 % of a step.
        packing = struct.Struct(f"{len(rule.scalars)}d")
        self._pack, self._row_bytes = packing.pack_into, packing.size
        self._in_order = itemgetter(*rule.scalars)
        self._columns = len(rule.scalars)
        self._make(len(groups))

    def _make(self, count: int) -> None:
        self.rows = np.empty((count, self._columns))
        self._buffer = self.rows.data.cast("B")
        self.following = np.empty((count, len(self._counters)))

    def compute(self, found: Found, scalars_of: ScalarsOf) -> bool:
        """Fill the rows, and let `found` say which one each tensor takes.

        Returns whether there were too few; then the arrays are other ones than before.
        """
        if found.common:
            counters = found.values[0].tolist()
            for row, group in enumerate(self._groups):
                self._set_row(row, scalars_of, group, counters)
            return False
        active = np.flatnonzero(found.rows >= 0)
        pairs = np.column_stack([found.rows[active], found.values[active]])
        unique, found.rows[active] = np.unique(pairs, axis=0, return_inverse=True)
        grows = len(self.rows) < len(unique)
        if grows:
            self._make(len(unique))
        for row, (index, *counters) in enumerate(unique.tolist()):
            self._set_row(row, scalars_of, self._groups[int(index)], counters)
        return grows

    def _set_row(
        self, row: int, scalars_of: ScalarsOf, group: int, counters: Sequence[float]
    ) -> None:
        step = counters[0] + 1
        scalars = scalars_of(group, step, *counters[1:])
        self._pack(self._buffer, row * self._row_bytes, *self._in_order(scalars))
        for column, name in enumerate(self._counters):
            self.following[row, column] = scalars.get(name, step)
