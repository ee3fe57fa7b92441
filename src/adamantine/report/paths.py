"""Optimizers' paths over a function of two numbers, as a PNG image, from records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adamantine.errors import UsageError
from adamantine.records.trace import TOLERANCE, PathRecord, TraceRecord
from adamantine.report.panels import (
    COLOURS,
    FAINT,
    INK,
    LABEL_GAP,
    Line,
    label_ends,
    lowered,
    picture,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST = 1e-12
"""Of the values that the logarithmic axis shows; nearer to the least one is nearer than anybody
looks."""
HIGHEST = 1e3
"""Likewise, as a multiple of the start's."""
FAR = 20.0
"""How many widths of the view a point may lie outside before it is drawn nearer."""
GREYS = 1.0, 0.8
"""Of the lowest and the highest ground."""
GAP = 0.055
"""Between the labels of two paths' ends, as a part of the map's height."""
LOW_GAP = 0.13
"""Between the labels of curves in a panel of a third of the height."""
EDGE = 0.04
"""Between a label and the map's edge, likewise."""


def paths_png(traces: Sequence[TraceRecord]) -> bytes:
    """Each surface as a map with the paths on it, and the values against the steps.

    One surface has them side by side; of several, each has its values below its map.

    Raises
    ------
    UsageError
        There is nothing to draw.
    """
    check_not_empty(traces)
    title = subtitle(traces)
    if len(traces) == 1:
        (trace,) = traces

        def paint(left: Axes, right: Axes) -> None:
            draw_map(left, trace)
            draw_values(right, trace, LABEL_GAP)

        return picture(title, (10.5, 4.7), (1, 2), paint, width_ratios=(1.35, 1))

    rows = math.ceil(len(traces) / 2)

    def paint_all(*panels: Axes) -> None:
        # Lines of two maps and lines of their values take turns.
        above = [axes for index, axes in enumerate(panels) if index % 4 < 2]
        below = [axes for index, axes in enumerate(panels) if index % 4 >= 2]
        for map_axes, value_axes, trace in zip(above, below, traces, strict=False):
            draw_map(map_axes, trace)
            draw_values(value_axes, trace, LOW_GAP)
        for unused in above[len(traces) :] + below[len(traces) :]:
            unused.set_axis_off()

    size = 10.5, 5.9 * rows
    return picture(title, size, (2 * rows, 2), paint_all, height_ratios=(1.9, 1) * rows)


def check_not_empty(traces: Sequence[TraceRecord]) -> None:
    """Raise :class:`UsageError` where there is nothing to draw."""
    if not all(trace.paths for trace in traces) or not traces:
        raise UsageError("there are no paths to draw: name at least one optimizer")


def subtitle(traces: Sequence[TraceRecord]) -> str:
    """How many steps, and where the learning rates come from."""
    paths = [path for trace in traces for path in trace.paths]
    rates = traces[0].rates
    found = f"learning rates: the best of {len(rates)} from {rates[0]:g} to {rates[-1]:g}"
    given = "learning rates as given"
    steps = traces[0].steps
    parts = [f"{steps} step{'' if steps == 1 else 's'}"]
    if all(path.lr_given for path in paths):
        parts.append(given)
    else:
        parts.append(found + (", or given" if any(path.lr_given for path in paths) else ""))
    return "  ·  ".join(parts)


def dashes_of(index: int) -> str:
    """Of the path at `index`: each colour comes twice, the second time dashed."""
    return "solid" if index // len(COLOURS) % 2 == 0 else "dashed"


def rate_label(path: PathRecord) -> str:
    """The contestant with its learning rate, unless the name says it already."""
    return path.name if "lr=" in path.name else f"{path.name}  lr {path.lr:g}"


def ending(path: PathRecord) -> str:
    """How the path ends, in a few words."""
    if path.left_view is not None:
        return f"leaves view at step {path.left_view}"
    if path.steps_to_target is not None:
        return f"within {TOLERANCE:g} after {path.steps_to_target}"
    return f"not within {TOLERANCE:g}"


def heights(path: PathRecord, trace: TraceRecord) -> list[float]:
    """The path's values above the least one, as a logarithmic axis can show them; else NaN."""
    above = (value - trace.least for value in path.values)
    return [max(value, LOWEST) if 0 <= value < math.inf else math.nan for value in above]


def height_range(trace: TraceRecord) -> tuple[float, float]:
    """Of the axis on which all of :func:`heights` are shown, but for what diverged."""
    shown = [h for path in trace.paths for h in heights(path, trace) if not math.isnan(h)]
    start = max(trace.paths[0].values[0] - trace.least, LOWEST)
    return 0.5 * min(shown, default=start), 2 * min(max(shown, default=start), HIGHEST * start)


def drawn_points(path: PathRecord, trace: TraceRecord) -> list[tuple[float, float]]:
    """The path's points; those far outside lie nearer, in the same direction."""
    left, right, bottom, top = trace.view
    middle = (left + right) / 2, (bottom + top) / 2
    size = right - left, top - bottom
    points = []
    for point in path.points:
        offset = [(p - m) / s for p, m, s in zip(point, middle, size, strict=True)]
        if all(map(math.isfinite, offset)):
            shrink = min(1.0, FAR / max(map(abs, offset), default=1.0)) if any(offset) else 1.0
            x, y = (m + shrink * o * s for m, o, s in zip(middle, offset, size, strict=True))
            points.append((x, y))
    return points


def visible_end(
    points: Sequence[tuple[float, float]], view: Sequence[float]
) -> tuple[float, float]:
    """The last point, or where the line to it crosses the edge of the view."""
    before, end = points[-2:][0], points[-1]  # the same where there is but one
    shares = [1.0]
    for axis, (low, high) in enumerate((view[:2], view[2:])):
        edge = min(max(end[axis], low), high)
        if edge != end[axis] != before[axis]:
            shares.append((edge - before[axis]) / (end[axis] - before[axis]))
    share = min(shares)
    x, y = (a + share * (b - a) for a, b in zip(before, end, strict=True))
    return x, y


def draw_map(axes: Axes, trace: TraceRecord) -> None:
    """Contours in greys, the paths over them, the start and the minimum marked."""
    left, right, bottom, top = trace.view
    levels, count = list(trace.levels), len(trace.levels) + 1
    low, high = GREYS
    greys = [str(low + (high - low) * index / (count - 1)) for index in range(count)]
    extent = (left, right, bottom, top)
    axes.contourf(
        trace.landscape, levels, colors=greys, extend="both", extent=extent, antialiased=True
    )
    axes.contour(
        trace.landscape,
        levels,
        colors="#FFFFFF",
        linewidths=0.5,
        extent=extent,
        negative_linestyles="solid",
    )
    ends = []
    for index, path in enumerate(trace.paths):
        points = drawn_points(path, trace)
        axes.plot(
            *zip(*points, strict=True), color=COLOURS[index % len(COLOURS)], linewidth=1.5,
            linestyle=dashes_of(index), solid_joinstyle="round", alpha=0.9, zorder=3,
            marker="o", markersize=2.2, markeredgewidth=0,
        )  # fmt: skip
        ends.append(visible_end(points, trace.view))
    axes.plot(*trace.start, "o", color="white", markeredgecolor=INK, markersize=7, zorder=5)
    if trace.minimum is not None:
        axes.plot(*trace.minimum, "*", color="white", markeredgecolor=INK, markersize=12, zorder=5)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(visible=False)
    axes.set_title(trace.title, loc="left", fontsize=12, fontweight="bold", pad=20)
    axes.annotate(
        trace.formula, (0, 1), xycoords="axes fraction", xytext=(0, 6),
        textcoords="offset points", color=FAINT, fontsize=9,
    )  # fmt: skip
    _label_paths(axes, trace, ends)


def _label_paths(axes: Axes, trace: TraceRecord, ends: Sequence[tuple[float, float]]) -> None:
    """The contestants' names beside their paths' ends, apart where ends meet."""
    from matplotlib.patheffects import withStroke

    left, right, bottom, top = trace.view
    across = [min(max((x - left) / (right - left), 0), 1) for x, _ in ends]
    up = [min(max((y - bottom) / (top - bottom), EDGE), 1 - EDGE) for _, y in ends]
    # Of ends at one height, the left ones' labels are the upper ones.
    up = [height - x / 1000 for height, x in zip(up, across, strict=True)]
    # Half a letter below the map's upper edge is the highest place.
    apart = [h - EDGE for h in lowered([h + EDGE for h in spread(up, GAP)], GAP)]
    for index, (x, height, path) in enumerate(zip(across, apart, trace.paths, strict=True)):
        others = across[:index] + across[index + 1 :]
        on_left = x > 0.8 or (bool(others) and min(others) - x > 0.1)
        axes.annotate(
            path.name, (x, height), xycoords="axes fraction",
            xytext=(-9 if on_left else 9, 0), textcoords="offset points", va="center",
            ha="right" if on_left else "left", color=COLOURS[index % len(COLOURS)],
            fontweight="bold", fontsize=9.5, zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def draw_values(axes: Axes, trace: TraceRecord, gap: float) -> None:
    """Values above the least one against steps, on a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    lines = [
        Line(
            rate_label(path),
            COLOURS[index % len(COLOURS)],
            range(len(path.values)),
            heights(path, trace),
            dashes_of(index),
        )
        for index, path in enumerate(trace.paths)
    ]
    what = "the minimum" if trace.minimum is not None else "the lowest in view"
    axes.set_title(f"Value above {what}", loc="left", fontsize=10, pad=8, color=FAINT)
    axes.set_yscale("log")
    axes.set(ylim=height_range(trace), xlim=(0, trace.steps))
    axes.set_xlabel("step")
    axes.tick_params(axis="y", which="minor", size=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=5))
    for line in lines:
        axes.plot(line.epochs, line.values, color=line.colour, linewidth=1.7, linestyle=line.dashes)
    label_ends(axes, lines, gap)
