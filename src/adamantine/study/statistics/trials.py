"""A trial's score, and which trial a contestant goes on with."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from adamantine.records import Look, Trial, TrialRun
from adamantine.records.fields import to_json
from adamantine.study.statistics.intervals import mean

Direction = Literal["max", "min"]
Criterion = Literal["metric", "loss", "train-loss"]

READ: Mapping[str, Callable[[Look], float]] = {
    "metric": lambda look: look.validation_metric,
    "loss": lambda look: look.validation_loss,
    "train-loss": lambda look: look.train_loss,
}
DIGITS = 12
"""Scores that agree in so many are tied: two equal means may differ in their last bits."""


def score_direction(tune_for: Criterion, direction: Direction) -> Direction:
    """Whether scores are better when they are larger; `direction` is the metric's."""
    return direction if tune_for == "metric" else "min"


def settings_key(settings: Mapping[str, Any]) -> str:
    """Equal for equal settings, also for those that went through JSON."""
    return json.dumps(to_json(settings), sort_keys=True, default=str)


def trial_of(
    settings: Mapping[str, Any], lr: float, runs: Sequence[TrialRun], tune_for: Criterion
) -> Trial:
    """What a setting was worth.

    Parameters
    ----------
    settings, lr
        What was tried.
    runs
        Its runs, in the order of the tuning seeds.
    tune_for
        What of a run's last look is its score: ``"metric"`` and ``"loss"`` are those of the
        validation data, ``"train-loss"`` is the mean loss of the batches since the look before.
    """
    scores = tuple(_last(run, READ[tune_for]) for run in runs)
    return Trial(
        settings=settings,
        lr=lr,
        scores=scores,
        score=_mean(scores),
        validation_loss=_mean([_last(run, READ["loss"]) for run in runs]),
    )


def choose(
    trials: Sequence[Trial], tune_for: Criterion = "metric", direction: Direction = "max"
) -> Trial | None:
    """The trial with the best score; of tied ones, that of lower validation loss, then the first.

    A trial of which any run diverged is never chosen; None if that leaves none.
    """
    sign = -1.0 if score_direction(tune_for, direction) == "max" else 1.0
    scored = [trial for trial in trials if trial.score is not None]
    return min(scored, key=lambda trial: _rank(trial, sign), default=None)


def _rank(trial: Trial, sign: float) -> tuple[float, float]:
    assert trial.score is not None
    loss = math.inf if trial.validation_loss is None else trial.validation_loss
    return sign * float(f"{trial.score:.{DIGITS}g}"), float(f"{loss:.{DIGITS}g}")


def _last(run: TrialRun, read: Callable[[Look], float]) -> float | None:
    """A number of a run's last look; None where it diverged, never was looked at, or has none."""
    if run.diverged is not None or not run.looks:
        return None
    value = read(run.looks[-1])
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None
