"""What the page and the pictures of a search show of its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from adamantine.records import SearchTrial, TuneRecord
from adamantine.report.panels import LONGEST

OUTCOMES = ("finished", "pruned")
"""Of trials that have a validation metric; their marks are those of 0 and 1."""
GRID = 40
"""Points along each side of a surface."""
DECADES = 1.5
"""Numbers that span so many are drawn on a logarithmic axis."""
ENOUGH = 5
"""Trials that a surface needs."""


@dataclass(frozen=True)
class Surface:
    """A metric over two settings, smoothed between trials: `z` has a row for each of `y`."""

    x: list[float]
    y: list[float]
    z: list[list[float]]
    trials: list[SearchTrial]


def ended(record: TuneRecord, outcome: str) -> list[SearchTrial]:
    """The trials of this outcome that were looked at."""
    return [trial for trial in record.trials if trial.outcome == outcome and trial.run.looks]


def last(trials: Sequence[SearchTrial]) -> list[float]:
    """Each one's validation metric where it ended."""
    return [trial.run.looks[-1].validation_metric for trial in trials]


def common_epoch(record: TuneRecord) -> float | None:
    """Where trials can be compared though most were stopped; None is at their end."""
    plan = record.plan
    floor, epochs = plan.get("floor", 1), plan.get("epochs", 1)
    return float(floor) if plan.get("pruning") and floor < epochs else None


def _compared(record: TuneRecord, trial: SearchTrial) -> float | None:
    epoch = common_epoch(record)
    looks = [look for look in trial.run.looks if epoch is None or look.epoch <= epoch + 1e-9]
    arrived = looks and (epoch is None or looks[-1].epoch >= epoch - 1e-9)
    value = looks[-1].validation_metric if arrived else math.nan
    return value if abs(value) <= LONGEST else None


def best_so_far(record: TuneRecord) -> list[float]:
    """After each finished trial."""
    better = max if record.direction == "max" else min
    return list(accumulate(last(ended(record, "finished")), better))


def important(record: TuneRecord) -> list[str]:
    """The settings, two at most, that mattered most."""
    return list(record.importances)[:2]


def is_number(value: Any) -> bool:
    """Whether a setting has a place on an axis of numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_log(record: TuneRecord, name: str) -> bool:
    """Whether the setting's axis is logarithmic."""
    values = [trial.drawn[name] for trial in record.trials if name in trial.drawn]
    if not values or not all(is_number(value) and value > 0 for value in values):
        return False
    return math.log10(max(values) / min(values)) > DECADES


def surface(record: TuneRecord, first: str, second: str) -> Surface | None:
    """Of what trials came to where all can be compared.

    None where trials are too few, or a setting is no number or always the same one.
    """
    compared = [
        (trial, value)
        for outcome in OUTCOMES
        for trial in ended(record, outcome)
        if is_number(trial.drawn.get(first)) and is_number(trial.drawn.get(second))
        if (value := _compared(record, trial)) is not None
    ]
    own = [trial for trial, _ in compared]
    if len(own) < ENOUGH:
        return None
    import numpy as np
    from scipy.interpolate import RBFInterpolator

    logs = [is_log(record, name) for name in (first, second)]
    points = np.array([[float(trial.drawn[name]) for name in (first, second)] for trial in own])
    points[:, logs] = np.log10(points[:, logs])
    scores = np.array([value for _, value in compared])
    low, high = points.min(axis=0), points.max(axis=0)
    if not (high > low).all():
        return None
    sides = [np.linspace(low[i], high[i], GRID) for i in range(2)]
    mesh = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    smooth = RBFInterpolator((points - low) / (high - low), scores, smoothing=1.0, kernel="linear")
    height = smooth((mesh - low) / (high - low)).clip(scores.min(), scores.max())
    x, y = (
        [float(value) for value in (10**side if log else side)]
        for side, log in zip(sides, logs, strict=True)
    )
    return Surface(x, y, height.reshape(GRID, GRID).round(6).tolist(), own)
