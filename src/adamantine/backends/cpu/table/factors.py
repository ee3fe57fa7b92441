"""Numbers for rows and columns, which a rule has to know before its sums and its update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.kernel.arguments import UNITS
from adamantine.backends.cpu.kernel.factored import UNIT
from adamantine.backends.cpu.kernel.kernel import compiled_along
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.table.reduction import Reduction
from adamantine.backends.formats import Format
from adamantine.rules import Factor, Rule, bind
from adamantine.rules.arrangement import (
    ROWS,
    Arrangement,
    arrangements,
    axes_of,
    is_of_elements,
)
from adamantine.rules.rule import Axis, Kind

WIDTH, ELEMENTS = 1024, 1 << 16
"""Columns of a unit at most, and its elements about: few enough to share out, and so many that its
sums along columns are a small part of what it reads. Not less than `LEAST` rows."""

LEAST = 64

PIECES_PER_THREAD = 16


def _where(condition: Any, x: Any, y: Any) -> Any:
    return np.where(np.asarray(condition) != 0, x, y)


_OPERATIONS = {"sqrt": np.sqrt, "absolute": np.abs, "maximum": np.maximum, "where": _where}


@cache
def on_host(function: Callable[..., Any]) -> Any:
    """A function of `rules` for NumPy's arrays."""
    return bind(function, _OPERATIONS)


class Factors:
    """What a rule's factors are, of all matrices of a table.

    Each is one array, with the numbers of one matrix after those of another, in what is computed
    with. Sums are made by units that follow from a matrix's shape.

    Parameters
    ----------
    rule
        With factors that :func:`.arrangements` lets pass.
    formats
        Of the parameters and of states of their shape.
    probe
        The table's; after each probe, with the addresses and rows of that step.
    params, states
        The matrices, and the dictionaries of their states.
    """

    def __init__(
        self,
        rule: Rule,
        formats: Sequence[Format],
        probe: TensorProbe,
        params: Sequence[Tensor],
        states: Sequence[dict[str, Any]],
    ) -> None:
        self._rule, self._probe = rule, probe
        found = arrangements(rule)
        assert found is not None
        self._arranged = found[0]
        self._shapes = np.array([(p.shape[:-2].numel(), *p.shape[-2:]) for p in params], np.int64)
        batch, rows, columns = self._shapes.T
        self._counts = {"rows": batch * rows, "columns": batch * columns, "matrices": batch}
        dtype = torch.float64 if formats[0].dtype == torch.float64 else torch.float32
        self._vectors = {
            name: self._empty("rows" if axes_of(rule, [name]) == ROWS else "columns", dtype)
            for name in rule.shapes
        }
        self._vectors |= {name: self._empty("rows", dtype) for name in self._arranged.numbers}
        self._states = {name: [s[name] for s in states] for name in rule.shapes}
        self._views = {
            name: [
                part.view(state.shape)
                for part, state in zip(
                    self._vectors[name].split([s.numel() for s in held]), held, strict=True
                )
            ]
            for name, held in self._states.items()
        }
        self._owner = {
            axis: np.repeat(np.arange(len(params)), counts) for axis, counts in self._counts.items()
        }
        matrices = np.arange(batch.sum())
        owner = self._owner["matrices"]
        self._matrix_of = {
            "rows": np.repeat(matrices, rows[owner]),
            "columns": np.repeat(matrices, columns[owner]),
        }
        self._passes = self._make_passes(formats)

    def _empty(self, axis: str, dtype: torch.dtype) -> Tensor:
        return torch.zeros(int(self._counts[axis].sum()), dtype=dtype, device="cpu")

    def _make_passes(self, formats: Sequence[Format]) -> dict[Any, _Pass]:
        """One for all factors that sum up the same of each element."""
        full = [name for name in self._rule.tensors if name not in self._rule.shapes]
        by_name = dict(zip(full, (formats[0], Format(formats[0].dtype), *formats[1:]), strict=True))
        passes: dict[Any, _Pass] = {}
        for factor in self._rule.factors:
            key = factor.of, factor.kind
            if is_of_elements(self._rule, factor) and key not in passes:
                tensors = [name for name in factor.arguments if name in by_name]
                kernel = compiled_along(factor, tuple(by_name[name] for name in tensors))
                columns = [full.index(name) for name in tensors]
                scalars = [self._rule.scalars.index(n) for n in factor.arguments[len(tensors) :]]
                passes[key] = _Pass(kernel, columns, scalars, self._probe, self._shapes)
        return passes

    def addresses(self, arranged: Arrangement | None = None) -> NDArray[np.int64]:
        """``(T, 2 + vectors)``: rows and columns, and where a loop finds a matrix's numbers."""
        arranged = arranged or self._arranged
        table = [np.maximum(self._shapes[:, 1], 1), np.maximum(self._shapes[:, 2], 1)]
        of_rows = [(name, "rows") for name in (*arranged.rows, *arranged.numbers)]
        for name, axis in of_rows + [(name, "columns") for name in arranged.columns]:
            vector = self._vectors[name]
            before = np.cumsum(self._counts[axis]) - self._counts[axis]
            table.append(vector.data_ptr() + vector.element_size() * before)
        return np.ascontiguousarray(np.stack(table, 1), np.int64)

    def find(self, step_scalars: NDArray[np.float64], threads: int) -> None:
        """Decide all factors; `step_scalars` are by row. States stay as they are."""
        for name, held in self._states.items():
            torch._foreach_copy_(self._views[name], held)
        for each in self._passes.values():
            each.run(step_scalars, threads)
        own = step_scalars[self._probe.rows]
        known: dict[str, Any] = {n: v.numpy() for n, v in self._vectors.items()}
        with np.errstate(all="ignore"):
            for factor in self._rule.factors:
                self._decide(factor, own, known)

    def _decide(self, factor: Factor, own: NDArray[np.float64], known: dict[str, Any]) -> None:
        axis: str = factor.along
        if is_of_elements(self._rule, factor):
            total = self._passes[factor.of, factor.kind].totals[factor.along]
        else:
            of_rows = axes_of(self._rule, factor.arguments) == ROWS
            axis, total = self._along_vector(factor, "rows" if of_rows else "columns", own, known)
        given = self._given(factor.needed, axis, own, known) | {"total": total}
        value = on_host(factor.value)(*(given[name] for name in factor.needed))
        if axis == "matrices":
            value = value[self._matrix_of["rows"]]
        known[factor.decides][:] = value

    def _along_vector(
        self, factor: Factor, of: Axis, own: NDArray[np.float64], known: dict[str, Any]
    ) -> tuple[str, Any]:
        """Sums of numbers that there are for rows or columns already: of each matrix."""
        given = self._given(factor.arguments, of, own, known)
        term = np.asarray(on_host(factor.of)(*(given[name] for name in factor.arguments)))
        if of == factor.along:
            return of, _by_kind(factor.kind, term)  # each is alone
        count = len(self._owner["matrices"])
        return "matrices", np.bincount(
            self._matrix_of[of], _by_kind(factor.kind, term), minlength=count
        )

    def _given(
        self, names: Sequence[str], axis: str, own: NDArray[np.float64], known: dict[str, Any]
    ) -> dict[str, Any]:
        """Those of these that are known: a number for each row, column or matrix."""
        owner = self._owner[axis]
        found = {}
        for name in names:
            if name in known:
                found[name] = known[name].astype(np.float64)
            elif name in self._rule.scalars:
                found[name] = own[:, self._rule.scalars.index(name)][owner]
            elif name in ("rows", "columns"):
                sizes = np.maximum(self._shapes[:, 1 if name == "rows" else 2], 1)
                found[name] = sizes.astype(np.float64)[owner]
        return found

    def write(self) -> None:
        """Leave what was found in the states of those that take part."""
        active = np.flatnonzero(self._probe.rows >= 0).tolist()
        for name, held in self._states.items():
            if active:
                views = self._views[name]
                torch._foreach_copy_([held[t] for t in active], [views[t] for t in active])


def _by_kind(kind: Kind, term: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind == "count":
        return (term > 0).astype(np.float64)
    return term * term if kind == "squares" else term


class _Pass:
    """Sums along the rows and columns of all matrices of a table, made in one pass.

    Attributes
    ----------
    totals
        By ``"rows"`` and ``"columns"``, after each :meth:`run`: a number for each of them; 0 for
        matrices that sit the step out.
    """

    def __init__(
        self,
        kernel: Any,
        columns: Sequence[int],
        scalars: Sequence[int],
        probe: TensorProbe,
        shapes: NDArray[np.int64],
    ) -> None:
        self._scalars = list(scalars)
        self._units, owners, places = _cut(shapes)
        units = self._units
        self._split = int(units[:, 1].sum())
        self._places = places[: self._split], places[self._split :]
        batch, rows, width = shapes.T
        self._lengths = int((batch * rows).sum()), int((batch * width).sum())
        chunks = np.zeros((len(units), 3), np.int64)
        chunks[:, 0] = owners
        found = np.zeros(len(places))
        self._reduction = Reduction(kernel, columns, probe, chunks, found=found)
        self._reduction.point(UNITS, self._units)
        self._elements = np.cumsum(np.append(0, units[:, 1] * units[:, 2]))
        self.totals: dict[str, NDArray[np.float64]] = {}

    def run(self, step_scalars: NDArray[np.float64], threads: int) -> None:
        """Add up, with a row of `step_scalars` for each of the probe's rows."""
        count = 1 if threads == 1 else PIECES_PER_THREAD * threads
        shares = np.linspace(0, self._elements[-1], count + 1)
        bounds = np.unique(np.searchsorted(self._elements, shares)).astype(np.int64)
        self._reduction.run(bounds, threads, step_scalars[:, self._scalars])
        found = self._reduction.found
        parts = found[: self._split], found[self._split :]
        self.totals = {
            axis: np.bincount(places, part, minlength=length).astype(
                np.float64
            )  # of none, integers
            for axis, places, part, length in zip(
                ("rows", "columns"), self._places, parts, self._lengths, strict=True
            )
        }


def _cut(
    shapes: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Units of all matrices, whose tensors they are of, and of which row or column each sum is.

    First come the sums along rows of all units, then those along columns.
    """
    units, owners = [np.empty((0, UNIT), np.int64)], [np.empty(0, np.int64)]
    row_base = column_base = 0
    for tensor, (batch, rows, columns) in enumerate(shapes.tolist()):
        of_one = _units(rows, columns)
        # The same in each matrix of a batch, from its first element, row and column on.
        steps = np.array([rows * columns, 0, 0, 0, rows, columns], np.int64)
        bases = np.array([0, 0, 0, 0, row_base, column_base], np.int64)
        moved = bases + steps * np.arange(batch)[:, None, None]
        of_all = (moved + of_one).reshape(-1, UNIT) if len(of_one) else units[0]
        units.append(of_all)
        owners.append(np.full(len(of_all), tensor, np.int64))
        row_base, column_base = row_base + batch * rows, column_base + batch * columns
    table = np.concatenate(units)
    counts, widths = table[:, 1], table[:, 2]
    places = np.concatenate([_ranges(table[:, 4], counts), _ranges(table[:, 5], widths)])
    table[:, 4] = np.cumsum(counts) - counts
    table[:, 5] = np.cumsum(widths) - widths + counts.sum()
    return table, np.concatenate(owners), places


def _units(rows: int, columns: int) -> NDArray[np.int64]:
    """Those of one matrix; in the place of sums, of which row and column the first is."""
    width = min(columns, WIDTH)
    height = max(LEAST, ELEMENTS // max(1, width))
    found = [
        (
            row * columns + column,
            min(height, rows - row),
            min(width, columns - column),
            columns,
            row,
            column,
        )
        for row in range(0, rows, height)
        for column in range(0, columns, max(1, width))
    ]
    return np.array(found, np.int64).reshape(-1, UNIT)


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from each start on, so many."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
