"""A training's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adamantine.records import RunRecord
from adamantine.report import formatting
from adamantine.report.curves import check_not_empty
from adamantine.report.frame import (
    Chart,
    Table,
    chart_html,
    header_html,
    label,
    named_terms_html,
    page_html,
    section_html,
    table_html,
    text,
)
from adamantine.report.layout import axis, layout
from adamantine.report.marks import mark
from adamantine.report.panels import title_of


def run_html(record: RunRecord) -> str:
    """One page with a training's curves and numbers, which opens offline; equal for equal records.

    Raises
    ------
    UsageError
        The record has no epochs.
    """
    check_not_empty({"the run": record})
    last = record.epochs[-1]
    write = formatting.metric_format(last.metric)
    charts = _charts(record)
    title = title_of(record)
    first, *rest = [chart_html(chart) for chart in charts]
    pair = f'<div class="pair">{first}{rest[0]}</div>'
    parts = [
        header_html(title, _subtitle(record)),
        f'<section class="verdict" id="verdict">\n<p>Test {text(last.metric)} '
        f"{formatting.number(last.test_metric, write)} after {_epochs(last.epoch)}.</p></section>",
        section_html("result", "Curves", pair, *rest[1:]),
        section_html("numbers", "All numbers", table_html(_table(record))),
        _method(record),
    ]
    return page_html(title, "\n".join(parts), charts)


def _charts(record: RunRecord) -> list[Chart]:
    epochs = record.epochs
    metric = epochs[-1].metric
    rates = [epoch.lr for epoch in epochs]
    ticks = {"tickformat": ".3~%"} if metric == "accuracy" else {}
    losses = {
        "training": [epoch.average_loss for epoch in epochs],
        "test": [epoch.test_loss for epoch in epochs],
    }
    charts = [
        _chart(record, "loss", "Loss", "Training: the mean of an epoch's batches.", losses, {}),
        _chart(
            record,
            "metric",
            f"Test {metric}",
            "Over the test examples, after each epoch.",
            {"test": [epoch.test_metric for epoch in epochs]},
            ticks,
        ),
    ]
    if len(set(rates)) > 1:
        charts.append(
            _chart(
                record, "rate", "Learning rate", "Of each epoch's last step.", {"rate": rates}, {}
            )
        )
    return charts


def _chart(
    record: RunRecord,
    name: str,
    title: str,
    caption: str,
    lines: Mapping[str, Sequence[float]],
    ticks: Mapping[str, Any],
) -> Chart:
    epochs = [epoch.epoch for epoch in record.epochs]
    traces = []
    for index, (said, values) in enumerate(lines.items()):
        its = mark(index)
        traces.append(
            {
                "x": epochs,
                "y": [value if math.isfinite(value) else None for value in values],
                "mode": "lines+markers",
                "line": {"color": its.colour, "dash": its.dash, "width": 2.5},
                "marker": {"symbol": its.symbol, "size": 7, "maxdisplayed": 12},
                "hovertemplate": f"{label(said)}: %{{y:.4~g}}<br>epoch %{{x}}<extra></extra>",
                "meta": {"label": label(said), "glyph": its.glyph} if len(lines) > 1 else {},
            }
        )
    return Chart(
        name,
        title,
        caption,
        traces,
        layout(height=340, xaxis=axis(title="epochs", showgrid=False), yaxis=axis(**ticks)),
    )


def _table(record: RunRecord) -> Table:
    metric = record.epochs[-1].metric
    write = formatting.metric_format(metric)

    def four(value: float) -> str:
        return formatting.number(value, lambda known: f"{known:.4g}")

    rows = [
        [
            str(epoch.epoch),
            four(epoch.average_loss),
            four(epoch.test_loss),
            formatting.number(epoch.test_metric, write),
            four(epoch.lr),
            formatting.duration(epoch.train_seconds),
        ]
        for epoch in record.epochs
    ]
    heads = ["Epoch", "Training loss", "Test loss", f"Test {metric}", "Learning rate", "Time"]
    return Table("Epoch by epoch; time is that of training alone.", heads, rows)


def _method(record: RunRecord) -> str:
    named = {
        "Configuration": record.configuration,
        "Machine": record.machine,
        "Versions": record.versions,
    }
    return section_html("method", "How it was trained", *named_terms_html(named))


def _subtitle(record: RunRecord) -> str:
    seconds = sum(epoch.train_seconds + epoch.test_seconds for epoch in record.epochs)
    parts = [
        record.status,
        _epochs(len(record.epochs)),
        formatting.duration(seconds),
        record.started[:10],
    ]
    return " · ".join(filter(None, parts))


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"
