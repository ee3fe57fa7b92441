"""Which trials are stopped early: asynchronous successive halving, with a floor."""

from typing import Any

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from adamantine.study.tune_plan import TunePlan

REDUCTION = 3
"""Of the trials that come to a rung, a third goes on; the next rung is three times as far."""


def pruner(plan: TunePlan) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2020), its first rung where the floor ends."""
    if not plan.pruning or plan.floor >= plan.epochs:
        return NopPruner()
    return _Halving(min_resource=plan.floor * plan.looks, reduction_factor=REDUCTION)


class _Halving(SuccessiveHalvingPruner):
    """Optuna's, for which a trial that was interrupted does not compete with its repetition."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        living: Any = _Living(study)
        return super().prune(living, trial)


class _Living:
    """A study without its failed trials."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    @property
    def _storage(self) -> Any:
        return self._study._storage

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=deepcopy)
        return [trial for trial in trials if trial.state != TrialState.FAIL]
