"""The charts of a search as PNG images, for papers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from adamantine.records import SearchTrial, TuneRecord
from adamantine.report.marks import mark
from adamantine.report.panels import (
    BLUE,
    INK,
    Picture,
    drawable,
    drawn,
    heading,
    per_cent,
    plain,
    shortened,
)
from adamantine.report.tune import data
from adamantine.report.tune.page import tune_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TUNE_PICTURES = ("search.png", "settings.png")
"""All that there can be."""
ENDS = ("came to their end", "stopped early")
"""Of the trials of each of ``data.OUTCOMES``."""


def tune_pngs(record: TuneRecord) -> dict[str, bytes]:
    """Pictures by file name, in the style of all others; those with nothing to show are left out.

    Equal records give equal bytes.
    """
    record = drawable(record)
    has_trials = any(data.ended(record, outcome) for outcome in data.OUTCOMES)
    settings = _settings(record) if has_trials and record.importances else []
    columns = 2 if len(settings) > 1 else 1
    rows = len(settings) // columns
    search = [partial(_history, record=record), partial(_curves, record=record)]
    return drawn(
        tune_title(record),
        {
            "search.png": Picture((10.5, 4.2), 2, search if has_trials else []),
            "settings.png": Picture((5.25 * columns, 4.2 * rows), columns, settings),
        },
    )


def _settings(record: TuneRecord) -> list[Any]:
    """One panel, two or four: a row has two."""
    names = data.important(record)
    slices = [partial(_slice, record=record, name=name) for name in names]
    surface = data.surface(record, *names) if len(names) == 2 else None
    bars = partial(_importances, record=record)
    if surface is None:
        return slices if len(slices) == 2 else [bars, *slices]
    return [*slices, bars, partial(_surface, record=record, found=surface)]


def _history(axes: Axes, record: TuneRecord) -> None:
    heading(axes, f"Validation {record.metric} of each trial", "trial")
    for index, outcome in enumerate(data.OUTCOMES):
        own = data.ended(record, outcome)
        _dots(axes, [trial.number for trial in own], own, index)
    finished = [trial.number for trial in data.ended(record, "finished")]
    axes.step(
        finished, data.best_so_far(record), where="post", color=mark(0).colour, linewidth=2,
        label="best so far",
    )  # fmt: skip
    _legend(axes)
    per_cent(axes.yaxis, record.metric == "accuracy")


def _curves(axes: Axes, record: TuneRecord) -> None:
    heading(axes, f"Validation {record.metric} while trials trained", "epochs")
    for index, outcome in reversed(list(enumerate(data.OUTCOMES))):
        its = mark(index)
        for trial in data.ended(record, outcome):
            axes.plot(
                [look.epoch for look in trial.run.looks],
                [look.validation_metric for look in trial.run.looks],
                color=its.colour, linewidth=1.2, alpha=0.7 if outcome == "finished" else 0.35,
                linestyle="solid" if outcome == "finished" else "dotted",
            )  # fmt: skip
    axes.set_xlim(left=0)
    per_cent(axes.yaxis, record.metric == "accuracy")


def _slice(axes: Axes, record: TuneRecord, name: str) -> None:
    heading(axes, f"{record.metric.capitalize()} against {name}", name)
    trials = [trial for trial in record.trials if name in trial.drawn]
    numbers = all(data.is_number(trial.drawn[name]) for trial in trials)
    places = {} if numbers else {word: n for n, word in enumerate(_words(trials, name))}
    for index, outcome in enumerate(data.OUTCOMES):
        own = [trial for trial in data.ended(record, outcome) if name in trial.drawn]
        values = [trial.drawn[name] for trial in own]
        _dots(axes, values if numbers else [places[str(value)] for value in values], own, index)
    if data.is_log(record, name):
        axes.set_xscale("log")
    if not numbers:
        axes.set_xticks(list(places.values()), [plain(shortened(word)) for word in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
    per_cent(axes.yaxis, record.metric == "accuracy")


def _words(trials: Sequence[SearchTrial], name: str) -> list[str]:
    return sorted({str(trial.drawn[name]) for trial in trials})


def _importances(axes: Axes, record: TuneRecord) -> None:
    heading(axes, "Which settings mattered", "share of the variance between trials")
    names = [plain(shortened(name)) for name in record.importances]
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.barh(range(len(names)), list(record.importances.values()), 0.55, color=BLUE, alpha=0.8)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    per_cent(axes.xaxis, True)


def _surface(axes: Axes, record: TuneRecord, found: data.Surface) -> None:
    first, second = data.important(record)
    epoch = data.common_epoch(record)
    where = "together" if epoch is None else f"together, after epoch {epoch:g}"
    heading(axes, f"{first} and {second} {where}", first)
    axes.set_ylabel(plain(second))
    axes.grid(visible=False)
    map_name = "viridis" if record.direction == "max" else "viridis_r"
    levels = axes.contourf(found.x, found.y, found.z, 12, cmap=map_name)
    axes.plot(
        [trial.drawn[first] for trial in found.trials],
        [trial.drawn[second] for trial in found.trials],
        "o", color="white", markeredgecolor="black", markeredgewidth=0.8, markersize=5,
        clip_on=False,
    )  # fmt: skip
    if data.is_log(record, first):
        axes.set_xscale("log")
    if data.is_log(record, second):
        axes.set_yscale("log")
    bar = axes.figure.colorbar(levels, ax=axes)
    bar.outline.set_visible(False)
    per_cent(bar.ax.yaxis, record.metric == "accuracy")


def _dots(axes: Axes, xs: Sequence[Any], trials: Sequence[SearchTrial], index: int) -> None:
    its = mark(index)
    axes.plot(
        xs, data.last(trials), its.marker, color=its.colour, markersize=6, markeredgewidth=0,
        alpha=1 if index == 0 else 0.5, label=ENDS[index],
    )  # fmt: skip


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", fontsize=8.5, frameon=True, edgecolor="none", framealpha=0.8)
