"""Numbers as tables, pages and pictures print them; where there is none, a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from adamantine.records import Interval
from adamantine.report.curves import format_metric

NONE = "–"
Format = Callable[[float], str]


def metric_format(name: str) -> Format:
    """How values of the metric of this name are written."""
    return lambda value: format_metric(name, value)


def number(value: float | None, write: Format) -> str:
    """`value` as `write` has it, or a dash if there is none or it is not finite."""
    return NONE if value is None or not math.isfinite(value) else write(value)


def interval(estimate: Interval | None, write: Format) -> str:
    """``97.81% [97.62, 98.00]``; without brackets where the bounds are not known."""
    if estimate is None or not math.isfinite(estimate.value):
        return NONE
    value = write(estimate.value)
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return value
    low, high = (write(bound).removesuffix("%") for bound in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def two_digits(value: float) -> str:
    """With two digits after the point."""
    return f"{value:.2f}"


def whole(value: float) -> str:
    """Without digits after the point, thousands apart."""
    return f"{value:,.0f}"


def signed(write: Format) -> Format:
    """`write` with a plus before what is positive, and a minus that is as wide."""
    return lambda value: f"{'−' if value < 0 else '+'}{write(abs(value))}"


def points(value: float) -> str:
    """A difference of fractions in percentage points."""
    return f"{100 * value:.2f}"


def probability(value: float) -> str:
    """A p value; below a thousandth, only that."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def rate(value: float) -> str:
    """A learning rate: ``0.001``, ``1e-05``."""
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """``85 µs``, ``1.23 ms``, ``4.56 s``, ``3 min 20 s``."""
    if seconds >= 100:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def size(count: float) -> str:
    """Bytes: ``940 B``, ``1.63 MB``."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count:.0f} B"


def settings(values: Mapping[str, Any]) -> str:
    """``lr=0.001, betas=(0.9, 0.999)``; a dash for none."""
    return ", ".join(f"{key}={plain(value)}" for key, value in values.items()) or NONE


def plain(value: Any) -> str:
    """Any JSON value in a few words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"({', '.join(plain(element) for element in value)})"
    if isinstance(value, Mapping):
        return settings(value)
    return NONE if value is None else str(value)
