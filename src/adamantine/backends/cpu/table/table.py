"""The pointer table: many tensors that one rule updates in one kernel call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.compiling.elements import supported
from adamantine.backends.cpu.kernel.arguments import (
    BOUNDS,
    CHUNKS,
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
from adamantine.backends.cpu.probe.statuses import GRAD, STAGE
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.table.norms import Squares
from adamantine.backends.cpu.table.sums import TensorSums
from adamantine.backends.cpu.threads import parallel
from adamantine.backends.formats import PAIRS, Format
from adamantine.backends.layout import has_own_dispatch, refusal_of_layout, staged
from adamantine.backends.shards import Part, Stretches, ranges, stretches_of
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


class Table:
    """Tensors, cut into chunks, and the scalars of the groups they belong to.

    Parameters
    ----------
    rule
        The update they all get.
    formats
        Of the parameters, and of the rule's states.
    params, states
        ``T`` parameters that :func:`refusal` lets pass, and the dictionary that holds each one's
        states, of the same shape and strides. No two share memory (see :func:`overlapping`).
    counters
        What the rule's family counts in those dictionaries, in float32 tensors without dimensions;
        empty where it counts nothing: then `fresh` says which parameters have their first step
        ahead.
    groups
        The parameter group of each.
    streams
        What the random numbers of each begin with (:func:`adamantine.codecs.noise.stream`).
    owner
        The optimizer's name, for messages.
    parts
        Of each parameter that is this process's part of a DTensor, that; for others None.

    Attributes
    ----------
    wholes
        The parameters, DTensors in the place of their parts.
    """

    is_one_call: Literal[True] = True
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
        self._rule, self._params, self._counters, self._owner = rule, params, counters, owner
        parts = parts or [None] * len(params)
        self.wholes = [p if of is None else of.whole for p, of in zip(params, parts, strict=True)]
        self._parts = [p for p, of in zip(params, parts, strict=True) if of is not None]
        self._groups = sorted(set(groups))
        indices = np.searchsorted(self._groups, groups)
        self._probe = TensorProbe(params, states, rule.states, formats[1:], counters, indices)
        if not counters:
            self._probe.values[:, 0] = np.where(fresh, 0.0, 1.0)
        self._arguments = self._probe.arguments
        self._arguments.point(STREAMS, np.array(streams, np.int64))
        # Complex tensors are memory full of real numbers, two for each of their elements.
        reals = 2 if params[0].is_complex() else 1
        formats = tuple(replace(f, dtype=PAIRS.get(f.dtype, f.dtype)) for f in formats)
        self._formats, self._kernel = formats, compiled(rule, formats)
        chunks, places = _cut([reals * p.numel() for p in params], stretches_of(parts, formats))
        self._elements = np.cumsum(np.append(0, chunks[:, 2]))
        self._arguments.point(CHUNKS, chunks)
        self._arguments.point(PLACES, places)
        self._chunks = chunks
        self._squares: Squares | None = None  # made when first asked for
        self._sums: Any = None
        elements = [reals * whole.numel() for whole in self.wholes]
        self._tensor_sums = (
            TensorSums(rule, rule.sums, formats, self._probe, chunks, elements)
            if rule.sums
            else None
        )
        self._bytes = np.array([p.nbytes for p in params], np.int64)
        self._bounds: dict[int, NDArray[np.int64]] = {}  # by number of threads
        self._threads = 1
        self._scalars = StepScalars(rule, counters, self._groups)
        self._point_to_scalars()
        self._grads: list[Any] = []

    def refresh(self, grads: list[Any]) -> bool:
        """Read the addresses of everything, with this step's gradients (None for none).

        False when a tensor is no longer what the table was built for: build another. Nothing has
        been written then.
        """
        self._threads = parallel.threads_for(int(self._elements[-1]), MIN_PER_THREAD)
        parallel.wake(self._threads)
        worst = self._probe.read(grads)
        if worst == STAGE:
            found = staged(self._owner, self._params, grads, self._probe.status == STAGE)
            if found is None:
                return False
            grads = found
            worst = self._probe.read(grads)
        # Their addresses are in use until the kernel returns; after that we must not hold them, or
        # zero_grad() would free no memory.
        self._grads = grads
        return worst < STAGE

    def gradients(self) -> list[Tensor]:
        """Those that :meth:`run` is about to read; after :meth:`refresh`, as the next two are."""
        return [grad for grad in self._grads if grad is not None]

    def gradient_spans(self) -> NDArray[np.int64]:
        """Where in memory each of them begins and ends."""
        taking_part = self._probe.rows >= 0
        begin = self._probe.addresses[taking_part, GRAD]
        return np.column_stack([begin, begin + self._bytes[taking_part]])

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

    def release(self) -> None:
        """Let go of the gradients, where no :meth:`run` follows."""
        self._grads = []

    def sums(self, scalars_of: ScalarsOf) -> dict[int, list[float]]:
        """For a rule with sums, what they are in each of :attr:`wholes`, by id.

        They are to be added up where others have parts of them; nothing is written.
        """
        if self._tensor_sums is None:
            return {}
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
        probe = self._probe
        self._set_step_scalars(scalars_of)
        bounds = self._split(self._threads)
        self._arguments.point(BOUNDS, bounds)
        if self._tensor_sums:
            if totals is None:
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
        # Compiled code writes behind autograd's back: tell it, or a second backward through the
        # old values would pass unnoticed.
        torch.autograd.graph.increment_version(
            self.wholes
            if probe.complete
            else [p for p, row in zip(self.wholes, probe.rows, strict=True) if row >= 0]
        )
        if self._parts:
            torch.autograd.graph.increment_version(self._parts)
        # Parameters and step counts in one call: Ctrl-C comes before both or after both.
        parallel.run(
            kernel.address,
            self._arguments.address,
            len(bounds) - 1,
            self._threads,
            advance().address,
        )
        if zero_grads:
            torch.autograd.graph.increment_version(self.gradients())
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
