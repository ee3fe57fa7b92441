"""What each contestant costs: time and state until the target, also as multiples of the best.

As AlgoPerf scores optimizers: by the time to a target, divided by that of the fastest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamantine.records import Interval, StudyRecord
from adamantine.report import formatting
from adamantine.report.frame import Chart, label
from adamantine.report.layout import axis, layout
from adamantine.report.marks import mark
from adamantine.report.study import data


@dataclass(frozen=True)
class Cost:
    """Of one contestant.

    Parameters
    ----------
    seconds
        To the target, restricted mean; None if it was never reached.
    at_least
        Whether some runs did not reach it: they count with the time until which all were watched.
    state
        Bytes of state; None without final runs.
    times_seconds, times_state
        Multiples of the best; None where there is nothing to divide, or the best has no state.
    """

    seconds: Interval | None
    at_least: bool
    state: int | None
    times_seconds: float | None
    times_state: float | None

    def time(self) -> str:
        """``1.23 s (1.4×)``, ``≥ 1.23 s (≥ 1.4×)``; ``never`` where no run got there."""
        if self.seconds is None:
            return "never" if self.state is not None else formatting.NONE
        least = "≥ " if self.at_least else ""
        said = f"{least}{formatting.duration(self.seconds.value)}"
        return said if self.times_seconds is None else f"{said} ({self.multiple()})"

    def multiple(self) -> str:
        """``1.4×``: its time by that of the fastest."""
        if self.times_seconds is None:
            return formatting.NONE
        return f"{'≥ ' if self.at_least else ''}{self.times_seconds:.2g}×"

    def memory(self) -> str:
        """``76.9 kB (2×)``."""
        if self.state is None:
            return formatting.NONE
        said = formatting.size(self.state)
        return said if self.times_state is None else f"{said} ({self.times_state:.2g}×)"


def costs(record: StudyRecord) -> dict[str, Cost]:
    """By contestant."""
    seconds = {one.name: _seconds(record, one.name) for one in record.contestants}
    state = {one.name: one.state_bytes if one.parameters else None for one in record.contestants}
    fastest = min((found[0].value for found in seconds.values() if found), default=0.0)
    least = min((size for size in state.values() if size is not None), default=0)
    return {
        name: Cost(
            found[0] if (found := seconds[name]) else None,
            bool(found and found[1]),
            size,
            found[0].value / fastest if found and fastest > 0 else None,
            size / least if size is not None and least > 0 else None,
        )
        for name, size in state.items()
    }


def cost_charts(record: StudyRecord) -> list[Chart]:
    """The final score against seconds to the target, and against bytes of state."""
    found = costs(record)
    write = formatting.metric_format(record.metric)
    seconds, state = {}, {}
    for one in record.contestants:
        cost = found[one.name]
        if cost.seconds is not None and math.isfinite(cost.seconds.value):
            seconds[one.name] = (cost.seconds, cost.time())
        if cost.state is not None:
            each = cost.state / one.parameters
            state[one.name] = (Interval(each, math.nan, math.nan), cost.memory())
    goal = formatting.number(record.target, write)
    never = [one.name for one in record.contestants if one.metric and one.name not in seconds]
    missing = f" Never there: {', '.join(never)}." if never else ""
    return [
        Chart(
            "score-time",
            f"Test {record.metric} against time",
            f"Seconds until a validation {record.metric} of {goal}; further left is cheaper."
            f" Lines: 95 % intervals.{missing}",
            _points(record, seconds),
            _layout(record, f"seconds to {goal}", seconds),
        ),
        Chart(
            "score-state",
            f"Test {record.metric} against memory",
            "Bytes of optimizer state for each parameter; further left is cheaper.",
            _points(record, state),
            _layout(record, "bytes of state per parameter", state),
        ),
    ]


def _points(record: StudyRecord, costs: Mapping[str, tuple[Interval, str]]) -> list[dict[str, Any]]:
    write = formatting.metric_format(record.metric)
    traces = []
    for index, one in enumerate(record.contestants):
        if one.metric is None or one.name not in costs:
            continue
        its, row, (cost, said) = mark(index), label(one.name), costs[one.name]
        traces.append(
            {
                "x": [cost.value],
                "y": [one.metric.value],
                "mode": "markers",
                "marker": {"color": its.colour, "size": 12, "symbol": its.symbol},
                "line": {"color": its.colour},
                "error_x": _arms(cost, its.colour),
                "error_y": _arms(one.metric, its.colour),
                "cliponaxis": False,
                "hovertemplate": f"{row}<br>{formatting.interval(one.metric, write)}<br>{said}"
                "<extra></extra>",
                "meta": {"contestant": index, "label": row, "glyph": its.glyph},
            }
        )
    return traces


def _layout(
    record: StudyRecord, title: str, costs: Mapping[str, tuple[Interval, str]]
) -> dict[str, Any]:
    ends = [end for found, _ in costs.values() for end in (found.value, found.high)]
    most = max((end for end in ends if math.isfinite(end)), default=0.0) or 1.0
    ticks = {"tickformat": ".3~%"} if record.metric == "accuracy" else {}
    return layout(
        height=300,
        xaxis=axis(title=title, range=[-0.05 * most, 1.06 * most], showgrid=False),
        yaxis=axis(**ticks),
    )


def _arms(found: Interval, colour: str) -> dict[str, Any]:
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return {
        "type": "data",
        "symmetric": False,
        "array": [found.high - found.value if known else 0],
        "arrayminus": [found.value - found.low if known else 0],
        "color": colour,
        "thickness": 1.5,
        "width": 0,
    }


def _seconds(record: StudyRecord, name: str) -> tuple[Interval, bool] | None:
    one = next(one for one in record.contestants if one.name == name)
    found = data.survival(one, "seconds")
    return (found.mean, found.reached < found.runs) if found and found.reached else None
