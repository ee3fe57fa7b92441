"""Which of the searched settings mattered: fANOVA over the trials (Hutter et al. 2014)."""

import math
from collections.abc import Sequence

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from adamantine.study.tune.suggest import OPTIMIZER

FEWEST = 4
"""Trials for each drawn number without which it is noise that is explained; and of one, ten."""


def importances(
    trials: Sequence[FrozenTrial], look: int | None, direction: str
) -> dict[str, float]:
    """The share of the scores' variance that each drawn number explains, the largest first.

    Parameters
    ----------
    trials
        Of one optimizer.
    look
        All trials are compared at this look, since most were stopped later; a trial that did
        not get there diverged, and counts as the worst. None compares them at their end.
    direction
        ``"max"`` or ``"min"``.

    Returns
    -------
    By Optuna's names; empty where there are too few trials, or all came to the same.
    """
    reached = [_at(trial, look) for trial in trials]
    known = [value for value in reached if value is not None]
    dimensions = max((len(trial.params.keys() - {OPTIMIZER}) for trial in trials), default=0)
    if len(known) < max(FEWEST * dimensions, 10) or len(set(known)) < 2:
        return {}
    worst = min(known) if direction == "max" else max(known)
    study = optuna.create_study()
    for trial, value in zip(trials, reached, strict=True):
        params = {name: v for name, v in trial.params.items() if name != OPTIMIZER}
        study.add_trial(
            optuna.create_trial(
                params=params,
                distributions={name: trial.distributions[name] for name in params},
                value=worst if value is None else value,
            )
        )
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def _at(trial: FrozenTrial, look: int | None) -> float | None:
    value = trial.value if look is None else trial.intermediate_values.get(look)
    return value if value is not None and math.isfinite(value) else None
