"""Loss and metric against epochs, as PNG images, from records alone.

Colours are Okabe and Ito's, which people with any colour vision can tell apart; lines carry
their own labels, so nothing depends on a legend. Equal records give equal bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adamantine.errors import UsageError
from adamantine.records import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT, GRID = "#222222", "#6B6B6B", "#E8E8E8"
STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same picture everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#BBBBBB",
    "ytick.color": "#BBBBBB",
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
}
LABEL_GAP = 0.075  # of a panel's height: two lines' labels are at least so far apart


@dataclass(frozen=True)
class Line:
    """One curve: its label, colour and a value for each epoch."""

    label: str
    colour: str
    epochs: Sequence[int]
    values: Sequence[float]


def curves_png(record: RunRecord) -> bytes:
    """One run: training and test loss on the left, the test metric on the right.

    Raises
    ------
    UsageError
        The record has no epochs.
    """
    _check_not_empty({"the run": record})
    epochs = [epoch.epoch for epoch in record.epochs]
    training = [epoch.average_loss for epoch in record.epochs]
    test = [epoch.test_loss for epoch in record.epochs]
    metric = [epoch.test_metric for epoch in record.epochs]
    name = record.epochs[0].metric
    last = format_metric(name, metric[-1])
    return _draw(
        title=_title(record),
        loss_title="Loss",
        losses=[
            Line(f"training {training[-1]:.3g}", BLUE, epochs, training),
            Line(f"test {test[-1]:.3g}", VERMILION, epochs, test),
        ],
        metric_name=name,
        metrics=[Line(last, VERMILION, epochs, metric)],
    )


def comparison_png(records: Mapping[str, RunRecord], title: str) -> bytes:
    """Several runs in one picture: training loss on the left, the test metric on the right.

    Parameters
    ----------
    records
        The runs by the label they shall carry.
    title
        Above the picture.

    Raises
    ------
    UsageError
        There are no runs, one has no epochs, or they were judged by different metrics.
    """
    _check_not_empty(records)
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
        epochs = [epoch.epoch for epoch in record.epochs]
        last = format_metric(name, record.epochs[-1].test_metric)
        training = [epoch.average_loss for epoch in record.epochs]
        metric = [epoch.test_metric for epoch in record.epochs]
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
    # Matplotlib is imported here because it takes a second; no pyplot: it keeps global state.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.02)
        figure = Figure(figsize=(9.5, 3.9), dpi=200, layout=layout)
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.018, ha="left", fontsize=10.5, color=FAINT)
        left, right = figure.subplots(1, 2)
        _panel(left, loss_title, losses)
        left.set_ylim(bottom=0 if _lowest(losses) >= 0 else None)
        _panel(right, f"Test {metric_name}", metrics)
        if metric_name == "accuracy":
            right.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}%")
            right.set_ylim(top=min(right.get_ylim()[1], 1.0))
        for axes, lines in ((left, losses), (right, metrics)):
            _label_ends(axes, lines)
        return _png(figure)


def _panel(axes: Axes, title: str, lines: list[Line]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    for line in lines:
        # Markers while there are few epochs: a run of one would be invisible without.
        marker = "o" if len(line.epochs) <= 12 else ""
        axes.plot(
            line.epochs, line.values, color=line.colour, linewidth=2, marker=marker, markersize=4.5,
            solid_capstyle="round", clip_on=False, zorder=3,
        )  # fmt: skip
    last = max(max(line.epochs) for line in lines)
    axes.set_xlim(0.7, last + (0.3 if last == 1 else 0))


def _label_ends(axes: Axes, lines: list[Line]) -> None:
    """Write each line's label at its right end, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    ends = [(_last_finite(line.values), line) for line in lines]
    heights = [0.5 if end is None else (end - bottom) / (top - bottom) for end, _ in ends]
    for height, (_, line) in zip(spread(heights, LABEL_GAP), ends, strict=True):
        axes.annotate(
            line.label, (1, height), xycoords="axes fraction", xytext=(8, 0),
            textcoords="offset points", va="center", color=line.colour, fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """`heights` moved up as little as leaves `gap` between any two, in the same order."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the version of Matplotlib in it, equal pictures are equal files.
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _title(record: RunRecord) -> str:
    configuration = record.configuration
    optimizer: Any = configuration.get("optimizer", {})
    parts = [
        str(configuration.get("workload", "")),
        str(optimizer.get("name", "")).rpartition(".")[2],
        f"lr {optimizer['lr']:g}" if isinstance(optimizer.get("lr"), float) else "",
        f"batch size {configuration['batch_size']}" if "batch_size" in configuration else "",
        f"seed {configuration['seed']}" if "seed" in configuration else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def _check_not_empty(records: Mapping[str, RunRecord]) -> None:
    if not records:
        raise UsageError("there are no runs to draw")
    for label, record in records.items():
        if not record.epochs:
            raise UsageError(f"{label} has no finished epoch to draw")


def _lowest(lines: list[Line]) -> float:
    return min((v for line in lines for v in line.values if math.isfinite(v)), default=0.0)


def _last_finite(values: Sequence[float]) -> float | None:
    return next((value for value in reversed(values) if math.isfinite(value)), None)
