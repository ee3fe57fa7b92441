"""Which trials are stopped early: asynchronous successive halving, with a floor."""

import math

from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from adamantine.study.tune.plan import TunePlan

REDUCTION_FACTOR = 3
"""Of the trials that come to a rung, one in so many goes on."""
RUNG_SPACING = 2
"""The next rung is so many times as far."""


def pruner(plan: TunePlan) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2020), its first rung where the floor ends."""
    if not plan.pruning or plan.floor >= plan.epochs:
        return NopPruner()
    return Halving(plan.floor * plan.looks)


class Halving(BasePruner):
    """A trial goes on beyond a rung if it is among the best share of those that came so far.

    Optuna's ``SuccessiveHalvingPruner`` puts the rungs as many times apart as trials are dropped at
    each, so that short trainings have one or two; here these are two numbers. Where they are equal
    it decides the same. And a trial that was interrupted does not compete with its repetition.

    Parameters
    ----------
    first
        The step of the first rung.
    reduction_factor
        One trial in so many goes on; the best one always does.
    rung_spacing
        The next rung is so many times as far.
    """

    def __init__(
        self, first: int, reduction_factor: int = REDUCTION_FACTOR, rung_spacing: int = RUNG_SPACING
    ) -> None:
        self._first, self._reduction_factor, self._rung_spacing = (
            first,
            reduction_factor,
            rung_spacing,
        )

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops at its last step."""
        step = trial.last_step
        if step is None or not self._is_rung(step):
            return False
        own = trial.intermediate_values[step]
        if math.isnan(own):
            return True
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.state != TrialState.FAIL
            and step in other.intermediate_values
        ]
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        better = sum(sign * other > sign * own for other in others)
        return better >= max((len(others) + 1) // self._reduction_factor, 1)

    def _is_rung(self, step: int) -> bool:
        rung = self._first
        while rung < step:
            rung *= self._rung_spacing
        return rung == step
