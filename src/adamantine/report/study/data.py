"""What a study's charts show, apart from how they are drawn: the same for page and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from adamantine.records import Contestant, StudyRecord, Survival, Trial, TrialRun
from adamantine.records.mean import mean

Unit = Literal["epochs", "steps", "seconds"]
UNITS: tuple[Unit, ...] = ("epochs", "steps", "seconds")
FIELDS: dict[Unit, str] = {"epochs": "epoch", "steps": "step", "seconds": "seconds"}
Times = dict[Unit, list[float]]
"""The same moments in each unit."""


@dataclass(frozen=True)
class Curve:
    """The mean over seeds at each look, with the smallest and the largest."""

    times: Times
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Broken:
    """A run that diverged: what was seen of it until then."""

    run: TrialRun
    times: Times
    values: list[float]


@dataclass(frozen=True)
class Steps:
    """A Kaplan-Meier curve from zero to the end of the budget, to be drawn as stairs."""

    times: list[float]
    share: list[float]
    low: list[float]
    high: list[float]


def final_runs(record: StudyRecord, name: str) -> list[TrialRun]:
    """The contestant's final runs in the order of their seeds."""
    runs = [run for run in record.runs if run.purpose == "final" and run.contestant == name]
    return sorted(runs, key=lambda run: run.seed)


def curve(runs: Sequence[TrialRun], field: str) -> Curve | None:
    """Of a field of the looks, over the runs that did not diverge; None if there are none.

    Each time is the mean of the runs' times: they look after the same steps, but not after the
    same seconds.
    """
    looks = list(zip(*(run.looks for run in runs if run.diverged is None), strict=False))
    if not looks:
        return None
    values = [[float(getattr(look, field)) for look in at] for at in looks]
    return Curve(
        times={unit: [_mean([getattr(look, FIELDS[unit]) for look in at]) for at in looks]
               for unit in UNITS},
        mean=[_mean(at) for at in values],
        low=[min(at) for at in values],
        high=[max(at) for at in values],
    )  # fmt: skip


def bounds(groups: Sequence[Sequence[TrialRun]], field: str) -> tuple[float, float]:
    """Between what values a picture of all curves is drawn, with a little room.

    Runs that diverged count only where there are no others: a loss of 1e30 would leave nothing to
    be seen of the rest.
    """
    curves = [found for runs in groups if (found := curve(runs, field)) is not None]
    values = [value for found in curves for value in (*found.low, *found.high)]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return -math.inf, math.inf
    least, most = min(values), max(values)
    room = 0.1 * (most - least)
    # What is positive stays so: the axis may be logarithmic.
    return (least - room if least - room > 0 or least <= 0 else least / 2), most + room


def broken(runs: Sequence[TrialRun], field: str, least: float, most: float) -> list[Broken]:
    """The runs that diverged, each as far as its looks go, kept within the picture's bounds.

    Those without a finite look are not among them.
    """
    found = []
    for run in runs:
        looks = [look for look in run.looks if math.isfinite(getattr(look, field))]
        if run.diverged is not None and looks:
            times = {unit: [getattr(look, FIELDS[unit]) for look in looks] for unit in UNITS}
            values = [min(max(getattr(look, field), least), most) for look in looks]
            found.append(Broken(run, times, values))
    return found


def finished_metrics(runs: Sequence[TrialRun]) -> list[tuple[int, float]]:
    """Seed and test metric of each run that has one."""
    return [
        (run.seed, run.test_metric)
        for run in runs
        if run.test_metric is not None and math.isfinite(run.test_metric)
    ]


def survival(contestant: Contestant, unit: Unit) -> Survival | None:
    """When it reached the target."""
    found: Survival | None = getattr(contestant, f"{unit}_to_target")
    return found


def steps(record: StudyRecord, contestant: Contestant, unit: Unit) -> Steps | None:
    """Its share of runs that have reached the target, by time; None if there are no runs."""
    reached = survival(contestant, unit)
    if reached is None:
        return None
    rows = list(zip(reached.times, reached.share, reached.share_low, reached.share_high,
                    strict=True))  # fmt: skip
    if not rows or rows[0][0] > 0:
        rows.insert(0, (0.0, 0.0, 0.0, math.nan))
    end = budget_end(record, contestant, unit)
    if end > rows[-1][0]:
        rows.append((end, *rows[-1][1:]))
    times, share, low, high = (list(column) for column in zip(*rows, strict=True))
    return Steps(times, share, low, high)


def budget_end(record: StudyRecord, contestant: Contestant, unit: Unit) -> float:
    """How far the longest of its final runs went; in epochs and steps, of anybody's."""
    field = FIELDS[unit]
    ends = [
        getattr(run.looks[-1], field)
        for run in record.runs
        if run.purpose == "final" and run.looks
        if unit != "seconds" or run.contestant == contestant.name
    ]
    return float(max(ends, default=0.0))


def finished_trials(contestant: Contestant) -> list[Trial]:
    """Those with a score, by learning rate."""
    trials = [t for t in contestant.trials if t.score is not None and math.isfinite(t.score)]
    return sorted(trials, key=lambda trial: trial.lr)


def is_line(contestant: Contestant) -> bool:
    """Whether its trials differ by nothing but the learning rate, so that a line joins them."""
    others = [{k: v for k, v in t.settings.items() if k != "lr"} for t in contestant.trials]
    return all(other == others[0] for other in others)


def chosen(contestant: Contestant) -> Trial | None:
    """The trial whose settings were chosen."""
    if not contestant.settings:
        return None
    return next((t for t in contestant.trials if t.settings == contestant.settings), None)


def floor(record: StudyRecord) -> float:
    """Where diverged trials stand in the picture of scores: a little beyond the worst one."""
    scores = [
        score
        for contestant in record.contestants
        for trial in finished_trials(contestant)
        for score in trial.scores
        if score is not None and math.isfinite(score)
    ]
    lowest, highest = min(scores, default=0.0), max(scores, default=1.0)
    margin = 0.08 * ((highest - lowest) or 1.0)
    return lowest - margin if bigger_is_better(record) else highest + margin


def judged_by_metric(record: StudyRecord) -> bool:
    """Whether tuning scores are the workload's metric; else they are the loss, or named."""
    return record.plan.get("tune_for") in (None, "metric", record.metric)


def bigger_is_better(record: StudyRecord) -> bool:
    """Of tuning scores."""
    return judged_by_metric(record) and record.direction == "max"


def score_name(record: StudyRecord) -> str:
    """What tuning scores are."""
    if judged_by_metric(record):
        return f"validation {record.metric}"
    what = str(record.plan["tune_for"])
    return f"validation {what}" if what == "loss" else what


def _mean(values: Sequence[float]) -> float:
    return mean(values) if all(map(math.isfinite, values)) else math.nan
