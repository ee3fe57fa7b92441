"""The charts of a search's page, as Plotly's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adamantine.records import SearchTrial, TuneRecord
from adamantine.report import formatting
from adamantine.report.frame import Chart, label
from adamantine.report.layout import axis, layout, rows
from adamantine.report.marks import mark
from adamantine.report.tune import data
from adamantine.report.tune.data import OUTCOMES, ended, last

Trace = dict[str, Any]
NO_BOX = "<extra></extra>"
SIZE = 9
LOG = {"type": "log", "exponentformat": "power"}


def tune_charts(record: TuneRecord) -> list[Chart]:
    """All charts that the record has numbers for, in the page's order."""
    important = data.important(record)
    found = [history(record), curves(record), importance(record)]
    found += [slice_of(record, name, index) for index, name in enumerate(important, 1)]
    if len(important) == 2:
        found.append(contour(record, *important))
    return [chart for chart in found if chart.data]


def history(record: TuneRecord) -> Chart:
    """Each trial's last validation metric, and the best so far."""
    traces = [
        _dots(record, own, [trial.number for trial in own], outcome, index)
        for index, outcome in enumerate(OUTCOMES)
        if (own := ended(record, outcome))
    ]
    finished = ended(record, "finished")
    if finished:
        its = mark(0)
        traces.append(
            {
                "x": [trial.number for trial in finished],
                "y": data.best_so_far(record),
                "mode": "lines",
                "line": {"color": its.colour, "width": 2.5, "shape": "hv"},
                "hovertemplate": "best so far<br>%{y:.5~g}" + NO_BOX,
            }
        )
    return Chart(
        "history",
        "How the search went",
        f"Validation {record.metric} of each trial where it ended: circles came to their end, "
        "squares were stopped early. The line is the best so far.",
        traces,
        layout(height=340, xaxis=axis(title="trial", showgrid=False), yaxis=_scores(record)),
    )


def curves(record: TuneRecord) -> Chart:
    """Validation metric while each trial trained, faint where it was stopped."""
    traces = []
    for index, outcome in reversed(list(enumerate(OUTCOMES))):
        its = mark(index)
        for trial in ended(record, outcome):
            looks = trial.run.looks
            traces.append(
                {
                    "x": [look.epoch for look in looks],
                    "y": [look.validation_metric for look in looks],
                    "mode": "lines",
                    "line": {
                        "color": its.shade(0.8 if outcome == "finished" else 0.35),
                        "dash": "solid" if outcome == "finished" else "dot",
                        "width": 1.5,
                    },
                    "hovertemplate": _said(trial) + NO_BOX,
                }
            )
    return Chart(
        "curves",
        "Trials while they trained",
        f"Validation {record.metric} by epoch; dotted lines were stopped early.",
        traces,
        layout(height=340, xaxis=axis(title="epochs", showgrid=False), yaxis=_scores(record)),
    )


def importance(record: TuneRecord) -> Chart:
    """Which of the searched settings mattered."""
    found = record.importances
    names = [label(name) for name in found]
    its = mark(0)
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": list(found.values()),
        "y": names,
        "marker": {"color": its.shade(0.8)},
        "hovertemplate": "%{y}: %{x:.0%}" + NO_BOX,
    }
    return Chart(
        "importance",
        "Which settings mattered",
        "The share of the variance between trials that each setting explains by itself or "
        "together with others (fANOVA); trials are compared where the first were stopped.",
        [bars] if found else [],
        layout(
            height=80 + 34 * len(found),
            xaxis=axis(rangemode="tozero", tickformat=".0%"),
            yaxis=rows(),
        ),
    )


def slice_of(record: TuneRecord, name: str, place: int) -> Chart:
    """The trials' last validation metric against one setting."""
    traces = [
        _dots(record, own, [trial.drawn[name] for trial in own], outcome, index)
        for index, outcome in enumerate(OUTCOMES)
        if (own := [trial for trial in ended(record, outcome) if name in trial.drawn])
    ]
    return Chart(
        f"slice-{place}",
        f"{record.metric.capitalize()} against {name}",
        f"Validation {record.metric} of each trial where it ended: circles came to their end, "
        "squares were stopped early.",
        traces,
        layout(height=340, xaxis=_axis_of(record, name), yaxis=_scores(record)),
    )


def contour(record: TuneRecord, first: str, second: str) -> Chart:
    """A smooth surface through the trials over the two settings that mattered most."""
    found = data.surface(record, first, second)
    traces = [_surface(record, found), _places(found.trials, first, second)] if found else []
    epoch = data.common_epoch(record)
    where = "where the trials ended" if epoch is None else f"after epoch {epoch:g}"
    return Chart(
        "contour",
        f"{first} and {second} together",
        f"Validation {record.metric} {where}, smoothed between the trials, over the two "
        "settings that mattered most; each circle is a trial.",
        traces,
        layout(height=420, xaxis=_axis_of(record, first), yaxis=_axis_of(record, second)),
    )


def _surface(record: TuneRecord, found: data.Surface) -> Trace:
    return {
        "type": "contour",
        "x": found.x,
        "y": found.y,
        "z": found.z,
        "colorscale": "Viridis",
        "reversescale": record.direction == "min",
        "contours": {"coloring": "heatmap"},
        "line": {"width": 0.5},
        "colorbar": {"thickness": 12, "outlinewidth": 0, "tickformat": _tick_format(record)},
        "hovertemplate": "about %{z:.4~g}" + NO_BOX,
    }


def _places(trials: Sequence[SearchTrial], first: str, second: str) -> Trace:
    return {
        "x": [trial.drawn[first] for trial in trials],
        "y": [trial.drawn[second] for trial in trials],
        "mode": "markers",
        "marker": {"color": "white", "size": 7, "line": {"color": "black", "width": 1}},
        "text": [_said(trial) for trial in trials],
        "hovertemplate": "%{text}" + NO_BOX,
    }


def _dots(
    record: TuneRecord, trials: Sequence[SearchTrial], xs: Sequence[Any], outcome: str, index: int
) -> Trace:
    write, its = formatting.metric_format(record.metric), mark(index)
    ends = last(trials)
    return {
        "x": list(xs),
        "y": ends,
        "mode": "markers",
        "marker": {
            "color": its.shade(0.9 if outcome == "finished" else 0.5),
            "size": SIZE,
            "symbol": its.symbol,
        },
        "text": [
            f"{write(value)}<br>{_said(trial)}" for value, trial in zip(ends, trials, strict=True)
        ],
        "hovertemplate": "%{text}" + NO_BOX,
    }


def _said(trial: SearchTrial) -> str:
    run = trial.run
    settings = formatting.settings({**run.settings, **run.training})
    return label(f"trial {trial.number}: {run.contestant} {settings}")


def _scores(record: TuneRecord) -> dict[str, Any]:
    return axis(tickformat=_tick_format(record))


def _tick_format(record: TuneRecord) -> str:
    return ".0%" if record.metric == "accuracy" else ""


def _axis_of(record: TuneRecord, name: str) -> dict[str, Any]:
    return axis(title=name, showgrid=False, **(LOG if data.is_log(record, name) else {}))
