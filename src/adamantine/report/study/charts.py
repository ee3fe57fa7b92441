"""The charts of a study's page, as Plotly's JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adamantine.records import Contestant, StudyRecord
from adamantine.report import formatting
from adamantine.report.frame import Chart, label
from adamantine.report.layout import axis, layout, rows
from adamantine.report.marks import Mark, mark
from adamantine.report.study import captions, data
from adamantine.report.study.costs import cost_charts

Trace = dict[str, Any]
ROW, LOW_ROW, TEXT = 44, 30, 17
"""Pixels of a contestant's row, with and without numbers in it, and of a line of its name."""
SIZE = 9
NO_BOX = "<extra></extra>"


def study_charts(record: StudyRecord) -> list[Chart]:
    """All charts that the record has numbers for, in the page's order."""
    found = [
        final(record),
        *cost_charts(record),
        curves(record, "train_loss", "loss"),
        curves(record, "validation_metric", "validation"),
        rates(record),
        times(record),
    ]
    return [chart for chart in found if chart.data]


def final(record: StudyRecord) -> Chart:
    """Test metric: the mean with its interval, and behind it each seed."""
    write = formatting.metric_format(record.metric)
    traces: list[Trace] = []
    for index, contestant, its in _marked(record):
        found = data.finished_metrics(data.final_runs(record, contestant.name))
        if contestant.metric is None or not math.isfinite(contestant.metric.value):
            continue
        row, (low, high) = label(contestant.name), _arms(contestant)
        traces += [
            {
                "x": [value for _, value in found],
                "y": [row] * len(found),
                "mode": "markers",
                "marker": {"color": its.shade(0.4), "size": SIZE, "symbol": its.symbol},
                "customdata": [[seed, write(value)] for seed, value in found],
                "hovertemplate": "%{customdata[1]}  seed %{customdata[0]}" + NO_BOX,
                "meta": {"contestant": index},
            },
            {
                "x": [contestant.metric.value],
                "y": [row],
                "mode": "markers+text",
                "marker": {"color": its.colour, "size": SIZE + 3, "symbol": its.symbol},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [high],
                    "arrayminus": [low],
                    "color": its.colour,
                    "thickness": 2.5,
                    "width": 0,
                },
                "text": [write(contestant.metric.value)],
                "textposition": "top center",
                "cliponaxis": False,
                "hovertemplate": f"{row}<br>{formatting.interval(contestant.metric, write)}"
                + NO_BOX,
                "meta": {"contestant": index},
            },
        ]
    return Chart(
        "final",
        f"Test {record.metric}",
        captions.final(record),
        traces,
        layout(
            height=80 + _height_of_rows(record, ROW),
            xaxis=axis(**_metric_ticks(record)),
            yaxis=rows(),
        ),
    )


def curves(record: StudyRecord, field: str, name: str) -> Chart:
    """A field of the looks against time: the mean over seeds in a band from least to most."""
    is_loss = field == "train_loss"
    write = formatting.metric_format("loss" if is_loss else record.metric)
    found = [
        (index, one.name, its, data.final_runs(record, one.name))
        for index, one, its in _marked(record)
    ]
    least, most = data.bounds([runs for *_, runs in found], field)
    traces: list[Trace] = []
    for index, contestant, its, runs in found:
        curve = data.curve(runs, field)
        if curve is not None:
            traces += _curve(curve, index, its, contestant, write)
        for run in data.broken(runs, field, least, most):
            traces.append(_broken(run, index, its, contestant))
    values = [value for trace in traces for value in trace["y"] if math.isfinite(value)]
    can_log = (is_loss or record.direction == "min") and min(values, default=0) > 0
    ticks = {} if is_loss else _metric_ticks(record)
    return Chart(
        name,
        "Training loss" if is_loss else f"Validation {record.metric}",
        captions.LOSS if is_loss else captions.validation(record),
        traces,
        layout(
            height=340,
            xaxis=axis(title="epochs", rangemode="tozero", showgrid=False),
            yaxis=axis(rangemode="tozero" if is_loss and can_log else "normal", **ticks),
            meta={"units": True, "log": can_log},
        ),
    )


def rates(record: StudyRecord) -> Chart:
    """Tuning scores against learning rates; below, the rates within the tolerance of the best."""
    write = formatting.metric_format(record.metric if data.judged_by_metric(record) else "")
    bottom = data.floor(record)
    traces: list[Trace] = []
    for index, contestant, its in _marked(record):
        traces += _scores(contestant, index, its, write, bottom)
        traces += _width(contestant, index, its)
    below = _height_of_rows(record, LOW_ROW)
    split = below / (320 + below)
    ticks = _metric_ticks(record) if data.judged_by_metric(record) else {}
    return Chart(
        "rates",
        f"{data.score_name(record).capitalize()} against learning rate",
        captions.rates(record),
        traces,
        layout(
            height=380 + below,
            xaxis=axis(
                type="log", title="learning rate", anchor="y2", showgrid=False,
                dtick=_every_so_many_decades(record), tickangle=0, exponentformat="power",
 tickfont={"size": 11},
            ),
            yaxis=axis(domain=[split + 0.04, 1], **ticks),
            yaxis2=rows(domain=[0, split]),
        ),
    )  # fmt: skip


def times(record: StudyRecord) -> Chart:
    """The share of final runs that have reached the target, by time."""
    traces: list[Trace] = []
    for index, contestant, its in _marked(record):
        found = {unit: data.steps(record, contestant, unit) for unit in data.UNITS}
        curves = {unit: steps for unit, steps in found.items() if steps is not None}
        if len(curves) < len(data.UNITS):
            continue
        bands = {unit: _band_of_stairs(steps) for unit, steps in curves.items()}
        first = curves["epochs"]
        row = label(contestant.name)
        traces += [
            {
                **_filled(its, index),
                "x": bands["epochs"][0],
                "y": bands["epochs"][1],
                "meta": {
                    "contestant": index,
                    "x": {unit: band[0] for unit, band in bands.items()},
                    "y": {unit: band[1] for unit, band in bands.items()},
                },
            },
            {
                "x": first.times,
                "y": first.share,
                "mode": "lines+markers",
                "line": {"color": its.colour, "dash": its.dash, "width": 2.5, "shape": "hv"},
                "marker": {"symbol": its.symbol, "size": SIZE - 2},
                "cliponaxis": False,
                "hovertemplate": f"{row}<br>%{{y:.0%}} of runs by %{{x:.4~g}} {{unit}}" + NO_BOX,
                "meta": {
                    "contestant": index,
                    "x": {unit: steps.times for unit, steps in curves.items()},
                    "y": {unit: steps.share for unit, steps in curves.items()},
                    "label": row,
                    "glyph": its.glyph,
                },
            },
        ]
    return Chart(
        "times",
        "Runs that have reached the target",
        captions.times(record),
        traces,
        layout(
            height=340,
            xaxis=axis(title="epochs", rangemode="tozero", showgrid=False),
            yaxis=axis(range=[-0.03, 1.06], tickformat=".0%", dtick=0.25),
            meta={"units": True},
        ),
    )


def _curve(
    curve: data.Curve, index: int, its: Mark, name: str, write: formatting.Format
) -> list[Trace]:
    row = label(name)
    kept = [i for i, (a, b) in enumerate(zip(curve.low, curve.high, strict=True))
            if math.isfinite(a) and math.isfinite(b)]  # fmt: skip
    there_and_back = kept + kept[::-1]
    around = [curve.high[i] for i in kept] + [curve.low[i] for i in kept[::-1]]
    xs = {unit: [t[i] for i in there_and_back] for unit, t in curve.times.items()}
    return [
        {
            **_filled(its, index),
            "x": xs["epochs"],
            "y": around,
            "meta": {"contestant": index, "x": xs},
        },
        {
            "x": curve.times["epochs"],
            "y": curve.mean,
            "mode": "lines+markers",
            "line": {"color": its.colour, "dash": its.dash, "width": 2.5},
            "marker": {"symbol": its.symbol, "size": SIZE - 2, "maxdisplayed": 8},
            "customdata": [
                [formatting.number(value, write) for value in at]
                for at in zip(curve.mean, curve.low, curve.high, strict=True)
            ],
            "hovertemplate": f"{row}<br>%{{customdata[0]}} (%{{customdata[1]}} to "
            "%{customdata[2]})<br>after %{x:.4~g} {unit}" + NO_BOX,
            "meta": {
                "contestant": index,
                "x": curve.times,
                "label": row,
                "glyph": its.glyph,
            },
        },
    ]


def _broken(broken: data.Broken, index: int, its: Mark, name: str) -> Trace:
    said = captions.divergence(broken.run)
    ends = [""] * (len(broken.values) - 1)
    return {
        "x": broken.times["epochs"],
        "y": broken.values,
        "mode": "lines+markers",
        "line": {"color": its.shade(0.7), "dash": its.dash, "width": 1.2},
        "marker": {
            "symbol": ["circle"] * len(ends) + ["x-thin"],
            "size": [0] * len(ends) + [SIZE + 5],
            "line": {"color": its.colour, "width": 2.5},
        },
        "hovertemplate": f"{label(name)}, seed {broken.run.seed}<br>{label(said)}" + NO_BOX,
        "meta": {"contestant": index, "x": broken.times},
    }


def _scores(
    contestant: Contestant, index: int, its: Mark, write: formatting.Format, bottom: float
) -> list[Trace]:
    row, meta = label(contestant.name), {"contestant": index}
    means = data.finished_trials(contestant)
    seeds = [(t.lr, s) for t in contestant.trials for s in t.scores if s is not None]
    failed = [trial for trial in contestant.trials if trial.score is None]
    best = data.chosen(contestant)
    traces: list[Trace] = [
        {
            "x": [lr for lr, _ in seeds],
            "y": [score for _, score in seeds],
            "mode": "markers",
            "marker": {"color": its.shade(0.35), "size": 5, "symbol": its.symbol},
            "hoverinfo": "skip",
            "meta": meta,
        },
        {
            "x": [trial.lr for trial in means],
            "y": [trial.score for trial in means],
            "mode": "lines+markers" if data.is_line(contestant) else "markers",
            "line": {"color": its.colour, "dash": its.dash, "width": 2.5},
            "marker": {"symbol": its.symbol, "size": SIZE},
            "customdata": [[formatting.number(t.score, write)] for t in means],
            "text": [label(formatting.settings(trial.settings)) for trial in means],
            "hovertemplate": f"{row}<br>%{{customdata[0]}}<br>%{{text}}" + NO_BOX,
            "meta": meta,
        },
        {
            "x": [trial.lr for trial in failed],
            "y": [bottom] * len(failed),
            "mode": "markers",
            "marker": {
                "symbol": "x-thin", "size": SIZE, "line": {"color": its.colour, "width": 2.5},
            },
            "text": [label(formatting.settings(trial.settings)) for trial in failed],
            "hovertemplate": f"{row}<br>diverged<br>%{{text}}" + NO_BOX,
            "meta": meta,
        },
    ]  # fmt: skip
    if best is not None and best.score is not None:
        ring = {"symbol": f"{its.symbol}-open", "size": SIZE + 8, "color": its.colour}
        traces.append(
            {
                "x": [best.lr],
                "y": [best.score],
                "mode": "markers",
                "marker": {**ring, "line": {"width": 1.8}},
                "hoverinfo": "skip",
                "meta": meta,
            }
        )
    return [trace for trace in traces if trace["x"]]


def _width(contestant: Contestant, index: int, its: Mark) -> list[Trace]:
    width = contestant.width
    if width is None or not (math.isfinite(width.low) and math.isfinite(width.high)):
        return []
    row, best = label(contestant.name), data.chosen(contestant)
    said = f"{row}<br>{formatting.rate(width.low)} to {formatting.rate(width.high)}: "
    ends = [
        "triangle-left" if width.open_below else "line-ns",
        "triangle-right" if width.open_above else "line-ns",
    ]
    return [
        {
            "x": [width.low, width.high],
            "y": [row, row],
            "yaxis": "y2",
            "mode": "lines+markers",
            "line": {"color": its.colour, "width": 4},
            "marker": {
                "symbol": ends, "size": 11, "color": its.colour,
                "line": {"width": 2.5, "color": its.colour},
            },
            "hovertemplate": f"{said}{captions.width(width)}" + NO_BOX,
            "meta": {"contestant": index},
        },
        {
            "x": [] if best is None else [best.lr],
            "y": [] if best is None else [row],
            "yaxis": "y2",
            "mode": "markers",
            "marker": {"symbol": its.symbol, "size": SIZE + 2, "color": its.colour},
            "hovertemplate": f"{row}<br>chosen: %{{x:.3~g}}" + NO_BOX,
            "meta": {"contestant": index},
        },
    ]  # fmt: skip


def _filled(its: Mark, index: int) -> Trace:
    return {
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": its.shade(0.13),
        "hoverinfo": "skip",
        "meta": {"contestant": index},
    }


def _band_of_stairs(steps: data.Steps) -> tuple[list[float], list[float]]:
    """Around the band of a curve that is level between its times, where the band is known."""
    known = [row for row in zip(steps.times, steps.low, steps.high, strict=True)
             if all(map(math.isfinite, row))]  # fmt: skip
    upper: list[tuple[float, float]] = []
    lower: list[tuple[float, float]] = []
    for place, (time, low, high) in enumerate(known):
        until = known[place + 1][0] if place + 1 < len(known) else time
        upper += [(time, high), (until, high)]
        lower += [(time, low), (until, low)]
    around = upper + lower[::-1]
    return [x for x, _ in around], [y for _, y in around]


def _marked(record: StudyRecord) -> Sequence[tuple[int, Contestant, Mark]]:
    return [(index, one, mark(index)) for index, one in enumerate(record.contestants)]


def _arms(contestant: Contestant) -> tuple[float | None, float | None]:
    """How far the metric's interval reaches below and above its mean."""
    estimate = contestant.metric
    if estimate is None or not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return None, None
    return estimate.value - estimate.low, estimate.high - estimate.value


def _height_of_rows(record: StudyRecord, row: int) -> int:
    """Of one for each contestant, all as high as the name of most lines needs."""
    lines = [label(contestant.name).count("<br>") + 1 for contestant in record.contestants]
    return len(lines) * max(row, TEXT * max(lines) + 6)


def _every_so_many_decades(record: StudyRecord) -> int:
    """Of learning rates there is a tick, so that six or fewer fit on a phone."""
    tried = [trial.lr for one in record.contestants for trial in one.trials if trial.lr > 0]
    decades = math.log10(max(tried) / min(tried)) if tried else 0
    return max(1, math.ceil(decades / 5))


def _metric_ticks(record: StudyRecord) -> dict[str, Any]:
    return {"tickformat": ".3~%"} if record.metric == "accuracy" else {}
