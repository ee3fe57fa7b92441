"""What steps did to each parameter, against epochs, from records alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adamantine.errors import UsageError
from adamantine.records import EpochRecord, RunRecord
from adamantine.report.panels import (
    COLOURS,
    FAINT,
    Line,
    drawable,
    label_ends,
    panel,
    picture,
    shortened,
    title_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 12
"""At most; each colour comes twice, the second time dashed."""
GAP = 0.06
"""Between labels: there are many."""
COMMON_RATIO = 1e-3
DRAWN = 1e-100, 1e100


def stats_png(record: RunRecord) -> bytes:
    """One run: above, updates by size of the parameter; below, gradient norms.

    Both axes are logarithmic. With more than :data:`LINES` parameters, the largest are shown.

    Raises
    ------
    UsageError
        Nothing was measured in the record's epochs.
    """
    epochs = [epoch for epoch in drawable(record).epochs if epoch.parameters]
    if not epochs:
        raise UsageError("no step of the run was measured: train it with --stats")
    names = _largest(epochs)
    total = len({name for epoch in epochs for name in epoch.parameters or ()})
    some = f"  ·  the {len(names)} largest of {total} parameters" if total > len(names) else ""

    def paint(above: Axes, below: Axes) -> None:
        _log_panel(above, "Update / parameter", _lines(epochs, names, "update_ratio"))
        above.axhline(COMMON_RATIO, color=FAINT, linewidth=1, linestyle=":", zorder=2)
        _log_panel(below, "Gradient norm", _lines(epochs, names, "grad_norm"))

    return picture(f"{title_of(record)}{some}", (9.5, 7.6), (2, 1), paint)


def _largest(epochs: list[EpochRecord]) -> list[str]:
    """The names of the parameters to show, in the order of the model."""
    sizes = {
        name: parameter.elements
        for epoch in epochs
        for name, parameter in (epoch.parameters or {}).items()
    }
    chosen = set(sorted(sizes, key=lambda name: -sizes[name])[:LINES])
    return [name for name in sizes if name in chosen]


def _lines(epochs: list[EpochRecord], names: list[str], field: str) -> list[Line]:
    lines = []
    for index, name in enumerate(names):
        is_second = index >= len(COLOURS)
        found = [(epoch.parameters or {}).get(name) for epoch in epochs]
        values = [math.nan if p is None else float(getattr(p, field)) for p in found]
        lines.append(
            Line(
                label=("╌ " if is_second else "") + shortened(name),
                colour=COLOURS[index % len(COLOURS)],
                epochs=[epoch.epoch for epoch in epochs],
                # A logarithmic axis has no place for zero, and Matplotlib's powers of ten overflow.
                values=[value if DRAWN[0] < value < DRAWN[1] else math.nan for value in values],
                dashes="dashed" if is_second else "solid",
            )
        )
    return lines


def _log_panel(axes: Axes, title: str, lines: list[Line]) -> None:
    panel(axes, title, lines)
    usable = [value for line in lines for value in line.values if not math.isnan(value)]
    # Where all is zero, there is a panel nevertheless.
    axes.set_ylim(0.5 * min(usable, default=1e-4), 2 * max(usable, default=1.0))
    axes.set_yscale("log")
    label_ends(axes, lines, GAP)
