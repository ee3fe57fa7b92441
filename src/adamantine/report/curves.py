"""Loss and metric against epochs, as PNG images, from records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adamantine.errors import UsageError
from adamantine.records import RunRecord
from adamantine.report.panels import (
    BLUE,
    COLOURS,
    VERMILION,
    Line,
    drawable,
    label_ends,
    panel,
    picture,
    title_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves_png(record: RunRecord) -> bytes:
    """One run: training and test loss on the left, the test metric on the right.

    Raises
    ------
    UsageError
        The record has no epochs.
    """
    check_not_empty({"the run": record})
    drawn, last = drawable(record).epochs, record.epochs[-1]
    epochs = [epoch.epoch for epoch in drawn]
    training = [epoch.average_loss for epoch in drawn]
    test = [epoch.test_loss for epoch in drawn]
    metric = [epoch.test_metric for epoch in drawn]
    name = last.metric
    return _draw(
        title=title_of(record),
        loss_title="Loss",
        losses=[
            Line(f"training {last.average_loss:.3g}", BLUE, epochs, training),
            Line(f"test {last.test_loss:.3g}", VERMILION, epochs, test),
        ],
        metric_name=name,
        metrics=[Line(format_metric(name, last.test_metric), VERMILION, epochs, metric)],
    )


def comparison_png(records: Mapping[str, RunRecord], title: str) -> bytes:
    """Several runs in one picture: training loss on the left, the test metric on the right.

    Parameters
    ----------
    records
        The runs by their labels.
    title
        The title above the picture.

    Raises
    ------
    UsageError
        There are no runs, one has no epochs, or they were judged by different metrics.
    """
    check_not_empty(records)
    names = {record.epochs[0].metric for record in records.values()}
    if len(names) != 1:
        raise UsageError(
            f"the runs were judged by different metrics ({', '.join(sorted(names))}); "
            "compare runs of one workload"
        )
    (name,) = names
    losses, metrics = [], []
    for index, (label, record) in enumerate(records.items()):
        colour = COLOURS[index % len(COLOURS)]
        drawn = drawable(record).epochs
        epochs = [epoch.epoch for epoch in drawn]
        last = format_metric(name, record.epochs[-1].test_metric)
        training = [epoch.average_loss for epoch in drawn]
        metric = [epoch.test_metric for epoch in drawn]
        losses.append(Line(label, colour, epochs, training))
        metrics.append(Line(f"{label}  {last}", colour, epochs, metric))
    return _draw(title, "Training loss", losses, name, metrics)


def format_metric(name: str, value: float) -> str:
    """Accuracy in per cent with two digits, any other metric with four significant ones."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4g}"


def _draw(
    title: str, loss_title: str, losses: list[Line], metric_name: str, metrics: list[Line]
) -> bytes:
    def paint(left: Axes, right: Axes) -> None:
        panel(left, loss_title, losses)
        left.set_ylim(bottom=0 if _lowest(losses) >= 0 else None)
        panel(right, f"Test {metric_name}", metrics)
        if metric_name == "accuracy":
            right.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}%")
            right.set_ylim(top=min(right.get_ylim()[1], 1.0))
        for axes, lines in ((left, losses), (right, metrics)):
            label_ends(axes, lines)

    return picture(title, (9.5, 3.9), (1, 2), paint)


def check_not_empty(records: Mapping[str, RunRecord]) -> None:
    """Raise :class:`UsageError` where there is nothing to draw."""
    if not records:
        raise UsageError("there are no runs to draw")
    for label, record in records.items():
        if not record.epochs:
            raise UsageError(f"{label} has no finished epoch to draw")


def _lowest(lines: list[Line]) -> float:
    return min((v for line in lines for v in line.values if math.isfinite(v)), default=0.0)
