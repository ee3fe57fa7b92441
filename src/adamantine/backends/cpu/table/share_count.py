"""The pass over memory before an update whose scalars depend on whole tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamantine.backends.cpu.kernel.kernel import compiled_count
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.table.reduction import Reduction
from adamantine.backends.formats import Format
from adamantine.rules import Rule, Share


class ShareCount:
    """Counts for a rule's :class:`~adamantine.rules.Share`.

    Counts are integers: their sums, and so the bits of a step, are the same for any number of
    threads. Of the tensors it reads only those that the share names.

    Parameters
    ----------
    rule, share
        The rule, and its share.
    formats
        The parameter's and the states'.
    probe
        The table's; after each probe, with the addresses and rows of that step.
    chunks
        ``(chunks, 3)``: tensor, offset, length.
    elements
        How many each tensor has; of a DTensor those elsewhere, too.
    """

    def __init__(
        self,
        rule: Rule,
        share: Share,
        formats: Sequence[Format],
        probe: TensorProbe,
        chunks: NDArray[np.int64],
        elements: Sequence[int],
    ) -> None:
        tensors = [name for name in share.arguments if name in rule.tensors]
        scalars = share.arguments[len(tensors) :]
        self._share, self._probe = share, probe
        param, *states = formats
        by_name = dict(zip(rule.tensors, (param, Format(param.dtype), *states), strict=True))
        kept = tuple(by_name[name] for name in tensors)
        coded = [name for name in rule.states if by_name[name].coded]
        columns = [rule.tensors.index(name) for name in tensors]
        columns += [
            len(rule.tensors) + coded.index(name) for name in tensors if by_name[name].coded
        ]
        self._scalars = [rule.scalars.index(name) for name in scalars]
        self._decided = rule.scalars.index(share.scalar)
        self._owners, self._elements = chunks[:, 0], elements
        self._reduction = Reduction(compiled_count(share, kept), columns, probe, chunks, np.int64)

    def counts(
        self, step_scalars: NDArray[np.float64], bounds: NDArray[np.int64], threads: int
    ) -> NDArray[np.int64]:
        """How many elements of each tensor have the property; `step_scalars` are by row."""
        self._reduction.run(bounds, threads, step_scalars[:, self._scalars])
        return self._by_tensor(self._reduction.found)

    def step_scalars_by_tensor(
        self, step_scalars: NDArray[np.float64], counts: Sequence[int]
    ) -> NDArray[np.float64]:
        """Scalars by tensor instead of by row, with the scalar that the counts decide."""
        own = step_scalars[self._probe.rows]
        pairs = zip(counts, self._elements, strict=True)
        own[:, self._decided] = [self._share.decide(*pair) for pair in pairs]
        return own

    def _by_tensor(self, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(len(self._probe.rows), np.int64)
        np.add.at(sums, self._owners, chunks)
        return sums
