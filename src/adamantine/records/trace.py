"""Paths of optimizers over a function of two numbers: all that a picture of them shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adamantine.records.fields import Record

TOLERANCE = 1e-2
"""How near to the least value counts as having got there."""


@dataclass(frozen=True)
class PathRecord:
    """One optimizer's path.

    Parameters
    ----------
    name, spec
        As pictures print it, and what was typed.
    settings
        The optimizer's, the learning rate included.
    lr, lr_given
        The learning rate, and whether it was typed; otherwise it is the best of the trace's
        `rates`.
    points
        The start and the point after each step. Where the path leaves the view and does not come
        back, its last point is the first one outside.
    values
        Of the function at these points.
    distance
        From the last point to the minimum; None where the function has none.
    steps_to_target
        Steps until the value is within :data:`TOLERANCE` of the least one; None if it never was.
    left_view
        The step after which the path was outside the view for good; None if it ends inside.
    """

    name: str
    spec: str
    settings: Mapping[str, Any]
    lr: float
    lr_given: bool
    points: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    distance: float | None
    steps_to_target: int | None
    left_view: int | None

    @property
    def final(self) -> tuple[float, ...]:
        """The last point."""
        return self.points[-1]

    @property
    def final_value(self) -> float:
        """The function's value there."""
        return self.values[-1]


@dataclass(frozen=True)
class TraceRecord(Record):
    """Several optimizers' paths over one surface, from the same start.

    Parameters
    ----------
    surface, title, formula, source
        Its name, what it is, how it is computed and who wrote it first.
    start, minimum, least, view, levels
        As in ``workloads.surfaces.Surface``.
    landscape
        The function's values over the view: rows from the bottom up, columns from the left.
    steps
        How many every optimizer was given.
    rates
        The learning rates that were tried where none was typed.
    """

    NAME: ClassVar[str] = "trace"

    surface: str
    title: str
    formula: str
    source: str
    start: tuple[float, ...]
    minimum: tuple[float, ...] | None
    least: float
    view: tuple[float, ...]
    levels: tuple[float, ...]
    landscape: tuple[tuple[float, ...], ...]
    steps: int
    rates: tuple[float, ...]
    paths: tuple[PathRecord, ...]
