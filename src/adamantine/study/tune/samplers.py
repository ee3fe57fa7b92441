"""Which settings a trial tries: Optuna's samplers, seeded by slot."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from adamantine.errors import UsageError
from adamantine.study.tune.trials.slots import SLOT

STARTUP = 10
"""Trials before a model of their results is of use; but for the defaults, they are random."""


def _tpe(seed: int) -> BaseSampler:
    # Grouped: the settings of each optimizer are modelled together, apart from the others'.
    return TPESampler(n_startup_trials=STARTUP, group=True, seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(n_startup_trials=STARTUP, deterministic_objective=False, seed=seed)


def _cmaes(seed: int) -> BaseSampler:
    try:
        import cmaes  # noqa: F401 - Optuna imports it when it samples
    except ImportError:
        raise UsageError("sampler cmaes needs a package: pip install cmaes") from None
    return CmaEsSampler(n_startup_trials=STARTUP, warn_independent_sampling=False, seed=seed)


MAKE: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": RandomSampler,
}


class PerSlot(BaseSampler):
    """A sampler of the kind `name`, which draws the same for the same slot and the same past.

    Processes that shared one seed would draw the same settings; those without any could not be
    repeated. So each trial has a fresh sampler, seeded by the search's seed and its slot.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._make, self._seed = MAKE[name], seed
        self._inner = self._for(0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Turn to the trial's own sampler."""
        self._inner = self._for(trial.user_attrs.get(SLOT, 0))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the sampler within."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler within."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the sampler within."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the sampler within."""
        self._inner.after_trial(study, trial, state, values)

    def _for(self, slot: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, slot]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._make(seed)
