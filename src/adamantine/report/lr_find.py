"""Where a learning rate works, as a PNG image, from the record of the search alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adamantine.records.lr_find import LrFindRecord
from adamantine.report.panels import BLUE, FAINT, GREEN, VERMILION, drawable, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADROOM = 1.3
"""How far the picture reaches above the start, in falls from the start to the lowest point."""


def lr_find_png(record: LrFindRecord) -> bytes:
    """On the left the sweep's losses, on the right the losses at the rates that were held.

    Every seed has a faint line, their median (left) or mean (right) a strong one. The range is
    shaded; the suggestion and the rate that diverged are marked.
    """
    record = drawable(record)

    def paint(left: Axes, right: Axes) -> None:
        sweep, held = record.sweep, record.held
        _panel(left, "Sweep: the rate grows every step", record)
        _faint(left, sweep.rates, sweep.losses)
        left.plot(sweep.rates, sweep.smoothed, color=BLUE, linewidth=2, zorder=3)
        _limit(left, record, [*sweep.smoothed])
        rates = [point.rate for point in held]
        means = [sum(point.losses) / len(point.losses) for point in held]
        _panel(right, f"Held for {record.steps} steps: loss at the end", record)
        seeds = list(zip(*(point.losses for point in held), strict=True))
        _faint(right, rates, seeds)
        right.plot(
            rates,
            means,
            color=BLUE,
            linewidth=2,
            marker="o",
            markersize=4.5,
            zorder=3,
            clip_on=True,
        )
        right.set_xlim(rates[0] / 1.3, rates[-1] * 1.3)
        _limit(right, record, means)
        _name(right, record)

    return picture(_title(record), (9.5, 3.9), (1, 2), paint)


def _panel(axes: Axes, title: str, record: LrFindRecord) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.axvspan(record.low.value, record.high.value, color=GREEN, alpha=0.13, linewidth=0)
    axes.axvspan(
        record.suggestion.least, record.suggestion.most, color=GREEN, alpha=0.35, linewidth=0
    )
    axes.axvline(record.suggestion.value, color=GREEN, linewidth=2, zorder=4)
    if record.diverges_at is not None:
        axes.axvline(record.diverges_at, color=VERMILION, linewidth=1.2, linestyle=":", zorder=4)


def _faint(axes: Axes, rates: Sequence[float], seeds: Sequence[Sequence[float]]) -> None:
    for losses in seeds:
        axes.plot(rates, losses, color=FAINT, linewidth=0.7, alpha=0.45, zorder=2)


def _limit(axes: Axes, record: LrFindRecord, shown: Sequence[float]) -> None:
    """From a little below the lowest point to a little above the start."""
    start = record.start_loss
    lowest = min(loss for loss in shown if math.isfinite(loss))
    fall = max(start - lowest, 1e-12)
    axes.set_ylim(start - 1.12 * fall, start + (HEADROOM - 1) * fall)


def _name(axes: Axes, record: LrFindRecord) -> None:
    """Say at the panel's top what is marked."""
    labels = [(record.suggestion.value, f"{record.suggestion.value:.2g}", GREEN)]
    if record.diverges_at is not None:
        labels.append((record.diverges_at, f"diverges at {record.diverges_at:.2g}", VERMILION))
    for rate, label, colour in labels:
        is_last = rate == record.diverges_at
        axes.annotate(
            label, (rate, 0.97), xycoords=("data", "axes fraction"),
            xytext=(-6 if is_last else 6, 0), textcoords="offset points",
            ha="right" if is_last else "left", va="top", color=colour, fontweight="bold",
        )  # fmt: skip


def _title(record: LrFindRecord) -> str:
    settings = [f"{name} {value}" for name, value in record.settings.items()]
    size = [f"batch size {record.batch_size}"] if record.batch_size else []
    found = f"suggestion {record.suggestion.value:.2g}, range {record.low.value:.2g} to "
    found += f"{record.high.value:.2g}"
    parts = [record.workload, record.optimizer, *settings, *size, f"{record.seeds} seeds", found]
    return "  ·  ".join(parts)
