"""The charts of a study as PNG images, for papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from adamantine.records import Contestant, StudyRecord
from adamantine.report import formatting
from adamantine.report.marks import Mark, mark
from adamantine.report.panels import (
    INK,
    Line,
    Picture,
    drawable,
    drawn,
    heading,
    label_ends,
    per_cent,
    plain,
    shortened,
)
from adamantine.report.study import captions, data
from adamantine.report.study.costs import costs
from adamantine.report.study.page import study_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 10
"""Times the lower end of the picture that the upper must be for a loss to be logarithmic."""
UNITS: tuple[data.Unit, ...] = ("epochs", "seconds")
STUDY_PICTURES = (
    "overview.png",
    "final.png",
    "curves.png",
    "time_to_target.png",
    "costs.png",
    "learning_rates.png",
)
"""All that there can be."""
BAR = 0.06
"""Of a panel's height, for each contestant's range of learning rates."""


def study_pngs(record: StudyRecord, units: Sequence[data.Unit] = UNITS) -> dict[str, bytes]:
    """Pictures by file name, in the style of all others; those with nothing to show are left out.

    ``overview.png`` has the most telling panels side by side. Equal records give equal bytes.
    Curves are drawn over each of the `units`.
    """
    return drawn(study_title(record), _pictures(drawable(record), units))


def _pictures(record: StudyRecord, units: Sequence[data.Unit]) -> dict[str, Picture]:
    count = len(record.contestants)
    final = partial(_final, record=record)
    rates = partial(_rates, record=record)
    loss, metric = (
        [partial(_curves, record=record, field=field, unit=unit) for unit in units]
        for field in ("train_loss", "validation_metric")
    )
    times = [partial(_times, record=record, unit=unit) for unit in units]
    prices = [partial(_costs, record=record, of=of) for of in ("time", "memory")]
    has_runs = any(data.final_runs(record, one.name) for one in record.contestants)
    has_final = any(one.metric is not None for one in record.contestants)
    has_trials = any(one.trials for one in record.contestants)
    overview = [
        *(metric[:1] if has_runs else []),
        *([rates] if has_trials else []),
        *([final] if has_final else []),
    ]
    curves = [panel for pair in zip(loss, metric, strict=True) for panel in pair]
    return {
        "overview.png": Picture((5.0 * len(overview), 4.2), len(overview), overview),
        "final.png": Picture((9.5, 1.7 + 0.55 * count), 1, [final] if has_final else []),
        "curves.png": Picture((10.5, 3.9 * len(units)), 2, curves if has_runs else []),
        "time_to_target.png": Picture((10.5, 4.1), len(times), times if has_runs else []),
        "costs.png": Picture((10.5, 4.1), 2, prices if has_final else []),
        "learning_rates.png": Picture((9.5, 4.2 + 0.25 * count), 1, [rates] if has_trials else []),
    }


def _final(axes: Axes, record: StudyRecord) -> None:
    write = formatting.metric_format(record.metric)
    heading(axes, f"Test {record.metric}")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    for row, one in enumerate(record.contestants):
        its = mark(row)
        seeds = [value for _, value in data.finished_metrics(data.final_runs(record, one.name))]
        axes.plot(
            seeds, [row] * len(seeds), its.marker, color=its.colour, alpha=0.35, markersize=6,
            markeredgewidth=0,
        )  # fmt: skip
        if one.metric is None or not math.isfinite(one.metric.value):
            continue
        if math.isfinite(one.metric.low) and math.isfinite(one.metric.high):
            axes.plot([one.metric.low, one.metric.high], [row, row], color=its.colour, linewidth=2)
        axes.plot([one.metric.value], [row], its.marker, color=its.colour, markersize=9)
        axes.annotate(
            write(one.metric.value), (one.metric.value, row), xytext=(0, 8),
            textcoords="offset points", ha="center", color=INK, fontsize=9,
        )  # fmt: skip
    last = len(record.contestants) - 1
    names = [plain(shortened(one.name)) for one in record.contestants]
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(last + 0.5, -0.7)
    axes.margins(x=0.12)
    per_cent(axes.xaxis, record.metric == "accuracy")


def _curves(axes: Axes, record: StudyRecord, field: str, unit: data.Unit) -> None:
    is_loss = field == "train_loss"
    heading(axes, "Training loss" if is_loss else f"Validation {record.metric}", unit)
    groups = [data.final_runs(record, one.name) for one in record.contestants]
    least, most = data.bounds(groups, field)
    lines = []
    for index, (one, runs) in enumerate(zip(record.contestants, groups, strict=True)):
        its, curve = mark(index), data.curve(runs, field)
        if curve is not None:
            times = curve.times[unit]
            axes.fill_between(times, curve.low, curve.high, color=its.colour, alpha=0.14, lw=0)
            axes.plot(
                times, curve.mean, its.marker, color=its.colour, linestyle=its.line_style,
                linewidth=2, markersize=5, markevery=max(1, len(times) // 6),
            )  # fmt: skip
            lines.append(_end(one, its, curve.mean))
        for run in data.broken(runs, field, least, most):
            axes.plot(
                run.times[unit], run.values, color=its.colour, alpha=0.8,
                linestyle=its.line_style, linewidth=1,
            )  # fmt: skip
            axes.plot(
                run.times[unit][-1:], run.values[-1:], "x", color=its.colour, markersize=8,
                markeredgewidth=2,
            )  # fmt: skip
    axes.set_xlim(left=0)
    if is_loss and least > 0:
        if most > WIDE * least:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_plain_number)
            axes.yaxis.set_minor_formatter(_plain_number)
        else:
            axes.set_ylim(bottom=0)
    per_cent(axes.yaxis, not is_loss and record.metric == "accuracy")
    label_ends(axes, lines)


def _times(axes: Axes, record: StudyRecord, unit: data.Unit) -> None:
    heading(axes, "Runs that have reached the target", unit)
    lines = []
    for index, one in enumerate(record.contestants):
        its, found = mark(index), data.steps(record, one, unit)
        if found is None:
            continue
        axes.fill_between(
            found.times, found.low, found.high, step="post", color=its.colour, alpha=0.12, lw=0
        )
        axes.step(
            found.times, found.share, where="post", color=its.colour, linestyle=its.line_style,
            linewidth=2,
        )  # fmt: skip
        lines.append(_end(one, its, found.share))
    axes.set_xlim(left=0)
    axes.set_ylim(-0.03, 1.03)
    per_cent(axes.yaxis, True)
    label_ends(axes, lines)


def _costs(axes: Axes, record: StudyRecord, of: str) -> None:
    """The final score against seconds to the target, or bytes of state for each parameter."""
    write = formatting.metric_format(record.metric)
    goal = formatting.number(record.target, write)
    along = f"seconds to {goal}" if of == "time" else "bytes of state per parameter"
    heading(axes, f"Test {record.metric} against {of}", along)
    lines = []
    for index, one in enumerate(record.contestants):
        its, cost = mark(index), costs(record)[one.name]
        seconds = cost.seconds.value if cost.seconds else None
        at = seconds if of == "time" else one.state_bytes / max(one.parameters, 1)
        if one.metric is None or at is None or not math.isfinite(at + one.metric.value):
            continue
        if math.isfinite(one.metric.low) and math.isfinite(one.metric.high):
            axes.plot([at, at], [one.metric.low, one.metric.high], color=its.colour, linewidth=2)
        axes.plot([at], [one.metric.value], its.marker, color=its.colour, markersize=10)
        lines.append(_end(one, its, [one.metric.value]))
    axes.margins(x=0.08, y=0.12)
    right = axes.get_xlim()[1]
    axes.set_xlim(-0.04 * right, right if right > 0 else 1)
    per_cent(axes.yaxis, record.metric == "accuracy")
    label_ends(axes, lines)


def _rates(axes: Axes, record: StudyRecord) -> None:
    score = data.score_name(record)
    heading(axes, f"{score.capitalize()} by learning rate", "learning rate")
    axes.set_xscale("log")
    bottom = data.floor(record)
    for index, one in enumerate(record.contestants):
        its, trials = mark(index), data.finished_trials(one)
        scores = [math.nan if trial.score is None else trial.score for trial in trials]
        axes.plot(
            [trial.lr for trial in trials], scores, its.marker,
            color=its.colour, linestyle=its.line_style if data.is_line(one) else "none",
            linewidth=2, markersize=5,
        )  # fmt: skip
        failed = [trial.lr for trial in one.trials if trial.score is None]
        axes.plot(
            failed, [bottom] * len(failed), "x", color=its.colour, markersize=7, markeredgewidth=2
        )
        best = data.chosen(one)
        if best is not None and best.score is not None:
            axes.plot(
                [best.lr], [best.score], its.marker, color=its.colour, fillstyle="none",
                markersize=11, markeredgewidth=1.5,
            )  # fmt: skip
    tried = {trial.lr for one in record.contestants for trial in one.trials}
    if len(tried) == 1:  # a logarithmic axis of no width leaves no room for anything
        axes.set_xlim(min(tried) / 3, max(tried) * 3)
    _widths(axes, record)
    per_cent(axes.yaxis, data.judged_by_metric(record) and record.metric == "accuracy")


def _widths(axes: Axes, record: StudyRecord) -> None:
    """Below the scores, the rates within the tolerance of each contestant's best."""
    count = len(record.contestants)
    least, most = axes.get_ylim()
    kept = [tick for tick in axes.get_yticks() if least <= tick <= most]
    share = 0.06 + BAR * count
    most += 0.04 * (most - least)  # for the ring around the chosen one
    axes.set_ylim(most - (most - least) / (1 - share), most)
    axes.set_yticks(kept)
    for index, one in enumerate(record.contestants):
        its, width = mark(index), one.width
        height = BAR * (count - index - 0.4)
        if width is None or not (math.isfinite(width.low) and math.isfinite(width.high)):
            name_at, said = axes.get_xlim()[0], f"{one.name}: {captions.width(width)}"
        else:
            name_at, said = width.high, one.name
            ends = [(width.low, "<", width.open_below), (width.high, ">", width.open_above)]
            axes.plot(
                [width.low, width.high], [height] * 2, color=its.colour, linewidth=3,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
            for end, arrow, is_open in ends:
                axes.plot(
                    [end], [height], arrow if is_open else "|", color=its.colour, markersize=7,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        axes.annotate(
            plain(shortened(said)), (name_at, height), xycoords=axes.get_xaxis_transform(),
            xytext=(7, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=its.colour, fontweight="bold",
        )  # fmt: skip


def _plain_number(value: float, _: object) -> str:
    """As ``0.3``, on an axis whose ticks would be powers of ten; every other one of them."""
    leading = f"{value:.0e}"[0]
    return f"{value:g}" if leading in "1235" else ""


def _end(contestant: Contestant, its: Mark, values: list[float]) -> Line:
    """What :func:`label_ends` needs to know of a line: its name, and where it ends."""
    return Line(f"{its.glyph} {plain(shortened(contestant.name))}", its.colour, [], values)
