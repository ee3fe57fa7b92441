"""The pass over memory before an update whose scalars depend on whole tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamantine.backends.cpu.kernel.arguments import MATRICES
from adamantine.backends.cpu.kernel.kernel import compiled_sums
from adamantine.backends.cpu.kernel.sums import PARTS
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.table.factors import Factors, on_host
from adamantine.backends.cpu.table.reduction import Reduction
from adamantine.backends.formats import Format
from adamantine.rules import Rule, Sums
from adamantine.rules.arrangement import arrangement


class TensorSums:
    """What a rule's :class:`~adamantine.rules.Sums` come to.

    They are added up by parts of tensors that are the same for any number of threads and any size
    of chunks, and then in order. Of the tensors it reads only those that the sums name.

    Parameters
    ----------
    rule, sums
        The rule, and its sums.
    formats
        The parameter's and the states'.
    probe
        The table's; after each probe, with the addresses and rows of that step.
    chunks
        ``(chunks, 3)``: tensor, offset, length.
    elements
        How many each tensor has; of a DTensor those elsewhere, too.
    factors
        The rule's, which are decided before.
    """

    def __init__(
        self,
        rule: Rule,
        sums: Sums,
        formats: Sequence[Format],
        probe: TensorProbe,
        chunks: NDArray[np.int64],
        elements: Sequence[int],
        factors: Factors | None = None,
    ) -> None:
        factored = arrangement(rule, sums.arguments) if rule.factors else None
        tensors = [name for name in sums.arguments if name in rule.tensors]
        vectors = [name for name in tensors if name in rule.shapes]
        tensors = [name for name in tensors if name not in vectors]
        self._rule, self._sums, self._probe = rule, sums, probe
        param, *states = formats
        full = [name for name in rule.tensors if name not in rule.shapes]
        by_name = dict(zip(full, (param, Format(param.dtype), *states), strict=True))
        kept = tuple(by_name[name] for name in tensors)
        coded = [name for name in full[2:] if by_name[name].coded]
        columns = [full.index(name) for name in tensors]
        columns += [len(full) + coded.index(name) for name in tensors if by_name[name].coded]
        others = sums.arguments[len(tensors) + len(vectors) :]
        self._scalars = [rule.scalars.index(name) for name in others]
        self._owners, self._elements = chunks[:, 0], np.maximum(elements, 1).astype(np.float64)
        numbers = PARTS, len(sums.names)
        kernel = compiled_sums(sums, kept, factored)
        self._reduction = Reduction(kernel, columns, probe, chunks, numbers)
        if factors is not None and factored is not None:
            self._reduction.point(MATRICES, factors.addresses(factored))

    def by_tensor(
        self, step_scalars: NDArray[np.float64], bounds: NDArray[np.int64], threads: int
    ) -> NDArray[np.float64]:
        """``(tensors, sums)``; `step_scalars` are by row."""
        self._reduction.run(bounds, threads, step_scalars[:, self._scalars])
        found = self._reduction.found
        sums = np.zeros((len(self._probe.rows), found.shape[-1]))
        np.add.at(sums, np.repeat(self._owners, PARTS), found.reshape(-1, found.shape[-1]))
        return sums

    def step_scalars_by_tensor(
        self, step_scalars: NDArray[np.float64], sums: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scalars by tensor instead of by row, with the scalar that the sums decide.

        Further columns of `sums` are other rules'.
        """
        own = step_scalars[self._probe.rows]
        values: Mapping[str, Any] = {
            **dict(zip(self._rule.scalars, own.T, strict=True)),
            **dict(zip(self._sums.names, sums.T, strict=False)),
            "elements": self._elements,
        }
        with np.errstate(all="ignore"):
            decided = on_host(self._sums.value)(*(values[name] for name in self._sums.needed))
        own[:, self._rule.scalars.index(self._sums.scalar)] = decided
        return own
