"""The pointer table: many tensors that one rule updates in one kernel call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.compiling.elements import supported
from adamantine.backends.cpu.kernel.arguments import (
    BOUNDS,
    CHUNKS,
    MATRICES,
    NEXT,
    PLACES,
    SAMPLED,
    STEP_SCALARS,
    STREAMS,
    SUMS,
)
from adamantine.backends.cpu.kernel.kernel import compiled
from adamantine.backends.cpu.kernel.step_statistics import SAMPLES
from adamantine.backends.cpu.kernel.sums import PART, PARTS
from adamantine.backends.cpu.probe.compiled_probe import advance
from adamantine.backends.cpu.probe.probed_table import ProbedTable
from adamantine.backends.cpu.table.factors import Factors
from adamantine.backends.cpu.table.norms import Squares
from adamantine.backends.cpu.table.sums import TensorSums
from adamantine.backends.cpu.threads import parallel
from adamantine.backends.formats import PAIRS, Format
from adamantine.backends.layout import has_own_dispatch, refusal_of_layout
from adamantine.backends.shards import Part, Stretches, ranges
from adamantine.backends.step_scalars import ScalarsOf, StepScalars
from adamantine.rules import Rule

CHUNK, CHUNK_OF_LARGE, LARGE = PART, PARTS * PART, 1 << 20
"""Elements a chunk: few enough to share out a network of one large tensor evenly. Tables of `LARGE`
or more elements have plenty of chunks."""

MIN_PER_THREAD = 131_072
"""Elements for each thread of our own (:func:`.parallel.threads_for`)."""

PIECES_PER_THREAD = 64
"""So many that the last one, for which all others wait, is short."""


def refusal(param: Tensor) -> str | None:
    """Why this backend cannot update `param`, or None where it can."""
    if has_own_dispatch(param):
        return f"a {type(param).__name__} without memory of its own"
    if not param.is_cpu:
        return f"on {param.device}"
    if PAIRS.get(param.dtype, param.dtype) not in supported():
        return f"of dtype {param.dtype}"
    return refusal_of_layout(param)


class Table(ProbedTable):
    """Tensors, cut into chunks, and the scalars of the groups they belong to.

    Parameters
    ----------
    rule, formats, params, states, counters, fresh, groups, owner, parts
        As for :class:`.ProbedTable`; the parameters are those that :func:`.arrangements` lets pass.
    streams
        What the random numbers of each begin with (:func:`adamantine.codecs.noise.stream`).
    """

    on_device: Literal[False] = False

    def __init__(
        self,
        rule: Rule,
        formats: tuple[Format, ...],
        params: list[Tensor],
        states: list[dict[str, Any]],
        counters: Sequence[str],
        fresh: list[bool],
        groups: list[int],
        streams: list[int],
        owner: str,
        parts: Sequence[Part | None] = (),
    ) -> None:
        super().__init__(rule, formats, params, states, counters, fresh, groups, owner, parts)
        self._arguments = self._probe.arguments
        self._arguments.point(STREAMS, np.array(streams, np.int64))
        formats = self._formats
        # Numbers of rows and columns are written after the others.
        self.is_one_call = not rule.factors
        self._kernel = compiled(rule, formats)
        chunks, places = _cut(self._sizes, self._stretches)
        self._elements = np.cumsum(np.append(0, chunks[:, 2]))
        self._arguments.point(CHUNKS, chunks)
        self._arguments.point(PLACES, places)
        self._chunks = chunks
        self._squares: Squares | None = None  # made when first asked for
        self._sums: Any = None
        self._factors = (
            Factors(rule, formats, self._probe, params, states) if rule.factors else None
        )
        if self._factors is not None:
            self._arguments.point(MATRICES, self._factors.addresses())
        sizes = self._sizes_of_wholes
        self._tensor_sums = (
            TensorSums(rule, rule.sums, formats, self._probe, chunks, sizes, self._factors)
            if rule.sums
            else None
        )
        self._bounds: dict[int, NDArray[np.int64]] = {}  # by number of threads
        self._threads = 1
        self._scalars = StepScalars(rule, counters, self._groups)
        self._point_to_scalars()

    def refresh(self, grads: list[Any]) -> bool:
        """As :class:`.ProbedTable` says; threads start up meanwhile."""
        self._threads = parallel.threads_for(int(self._elements[-1]), MIN_PER_THREAD)
        parallel.wake(self._threads)
        return super().refresh(grads)

    def sum_of_squares(self) -> float:
        """Of all their elements, in float64; infinite or NaN where an element is."""
        return self._of_squares().total(self._split(self._threads), self._threads)

    def sums_of_squares(self) -> NDArray[np.float64]:
        """The same of each of them; 0 for parameters without one."""
        return self._of_squares().by_tensor(self._split(self._threads), self._threads)

    def _of_squares(self) -> Squares:
        if self._squares is None:
            self._squares = Squares(self._formats[0].dtype, self._probe, self._chunks)
        return self._squares

    def sums(self, scalars_of: ScalarsOf) -> dict[int, list[float]]:
        """For a rule with sums, what they are in each of :attr:`wholes`, by id.

        They are to be added up, where others have parts of them or all decide; nothing is written.
        """
        if self._tensor_sums is None or self._factors is not None:
            return {}  # no process has a part of a matrix with factors
        before = self._probe.rows.copy()
        self._set_step_scalars(scalars_of)
        bounds = self._split(self._threads)
        sums = self._tensor_sums.by_tensor(self._scalars.rows, bounds, self._threads)
        self._probe.rows[:] = before
        return dict(zip(map(id, self.wholes), sums.tolist(), strict=True))

    def run(
        self,
        scalars_of: ScalarsOf,
        zero_grads: bool = False,
        collect_stats: bool = False,
        totals: Mapping[int, Sequence[float]] | None = None,
    ) -> None:
        """Update every tensor that has a gradient; :meth:`refresh` comes before, each time.

        With `zero_grads`, fill the gradients with zeros on the way; no two may share memory then.
        With `collect_stats`, :meth:`measured` has something to say afterwards. `totals` are those
        of :meth:`sums`, added up over processes.
        """
        self._set_step_scalars(scalars_of)
        bounds = self._split(self._threads)
        self._arguments.point(BOUNDS, bounds)
        if self._factors is not None:
            self._factors.find(self._scalars.rows, self._threads)
        if self._tensor_sums and self._rule.tensor_sums:
            if totals is None or self._factors is not None:
                found = self._tensor_sums.by_tensor(self._scalars.rows, bounds, self._threads)
            else:
                found = np.array([totals[id(whole)] for whole in self.wholes])
            self._set_step_scalars_by_tensor(
                self._tensor_sums.step_scalars_by_tensor(self._scalars.rows, found)
            )
        kernel = self._kernel
        if zero_grads or collect_stats:
            kernel = compiled(self._rule, self._formats, zero_grads, collect_stats)
        if collect_stats:
            self._make_room()
        self._tell_autograd(zero_grads)
        # Parameters and step counts in one call: Ctrl-C comes before both or after both.
        parallel.run(
            kernel.address,
            self._arguments.address,
            len(bounds) - 1,
            self._threads,
            advance().address,
        )
        if self._factors is not None:
            self._factors.write()
        self.release()

    def begun(self) -> list[Tensor]:
        """Those of :attr:`wholes` whose first step is done; for rules without counters."""
        return [p for p, value in zip(self.wholes, self._probe.values[:, 0], strict=True) if value]

    def _make_room(self) -> None:
        """For what a kernel collects."""
        if self._sums is None:
            self._sums = np.zeros((len(self._chunks), 3))
            self._samples = np.zeros((len(self._chunks), SAMPLES))
            self._arguments.point(SUMS, self._sums)
            self._arguments.point(SAMPLED, self._samples)

    def measured(self) -> list[tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]]:
        """Of every tensor that took part in the last run: it, its sums and its samples."""
        rows = self._probe.rows
        sums = np.zeros((len(rows), 3))
        np.add.at(sums, self._chunks[:, 0], self._sums)
        edges = np.searchsorted(self._chunks[:, 0], np.arange(len(rows) + 1))
        return [
            (param, sums[t], self._samples[edges[t] : edges[t + 1]].ravel())
            for t, param in enumerate(self.wholes)
            if rows[t] >= 0
        ]

    def _set_step_scalars(self, scalars_of: ScalarsOf) -> None:
        """A row of scalars for each group and set of counters; points the tensors to theirs."""
        if self._scalars.compute(self._probe, scalars_of):
            self._point_to_scalars()

    def _point_to_scalars(self) -> None:
        self._arguments.point(STEP_SCALARS, self._scalars.rows)
        self._arguments.point(NEXT, self._scalars.following)

    def _set_step_scalars_by_tensor(self, step_scalars: NDArray[np.float64]) -> None:
        """Give every tensor a row of its own."""
        rows = self._probe.rows
        self._arguments.point(STEP_SCALARS, step_scalars)
        self._arguments.point(NEXT, self._scalars.following[rows])
        rows[rows >= 0] = np.flatnonzero(rows >= 0)

    def _split(self, threads: int) -> NDArray[np.int64]:
        """Bounds of pieces of about equal numbers of elements."""
        if threads not in self._bounds:
            count = 1 if threads == 1 else PIECES_PER_THREAD * threads
            shares = np.linspace(0, self._elements[-1], count + 1)
            self._bounds[threads] = np.unique(np.searchsorted(self._elements, shares))
        return self._bounds[threads]


def _cut(
    sizes: list[int], stretches: Sequence[Stretches | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chunks as rows of (tensor, offset, length), and the places of their first elements."""
    # Not by the number of threads: sums over chunks, and so the bits, are the same for any.
    chunk = CHUNK if sum(sizes) < LARGE else CHUNK_OF_LARGE
    rows = [
        (tensor, offset, min(chunk, end - offset), start + offset - begin)
        for tensor, (size, found) in enumerate(zip(sizes, stretches, strict=True))
        for begin, end, start in ranges(size, found)
        for offset in range(begin, end, chunk)
    ]
    table = np.array(rows, np.int64).reshape(-1, 4)
    return np.ascontiguousarray(table[:, :3]), np.ascontiguousarray(table[:, 3])
