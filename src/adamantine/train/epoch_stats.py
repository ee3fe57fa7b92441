"""What steps tell of themselves, averaged for the record of an epoch or a look."""

import math
from collections.abc import Iterable, Sequence

from torch.optim import Optimizer

from adamantine.optim import RuleOptimizer
from adamantine.optim.step.stats import ParameterStats
from adamantine.records import MEASURED, ParameterRecord
from adamantine.records.mean import mean


class EpochStats:
    """Gathers the ``stats()`` of an optimizer; of one that collects none, nothing.

    The measured steps are an epoch's first one and then every k-th, whatever came before: so a run
    that was interrupted and resumed measures the same ones.

    Parameters
    ----------
    optimizer
        Of any class; those of this package built with ``collect_stats`` have something to tell.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer: RuleOptimizer | None = None
        if isinstance(optimizer, RuleOptimizer) and "collect_stats" in optimizer.options:
            self._optimizer = optimizer
        self._told: dict[str, list[ParameterStats]] = {}
        self._seen = 0

    def begin(self) -> None:
        """Before an epoch; before any step, that one is measured."""
        if self._optimizer is not None:
            self._optimizer.restart_stats()
            self._seen, self._told = self._optimizer.measured_steps, {}

    def look(self) -> None:
        """After each step, or at least after those that are measured."""
        if self._optimizer is not None and self._optimizer.measured_steps != self._seen:
            self._seen = self._optimizer.measured_steps
            for stats in self._optimizer.stats():
                self._told.setdefault(stats.name, []).append(stats)

    def record(self) -> dict[str, ParameterRecord] | None:
        """The means of what was told since :meth:`begin` or the last record, by parameter.

        None where nothing is collected.
        """
        if self._optimizer is None:
            return None
        told, self._told = self._told, {}
        return {name: _averaged(stats) for name, stats in told.items()}


def _averaged(stats: Sequence[ParameterStats]) -> ParameterRecord:
    """Of the numbers that are finite: an infinite gradient would hide what all others were."""
    return ParameterRecord(
        elements=stats[0].elements,
        learning_rates=tuple(map(_mean, zip(*(s.learning_rates for s in stats), strict=True))),
        **{field: _mean(getattr(s, field) for s in stats) for field in MEASURED},
    )


def _mean(values: Iterable[float]) -> float:
    usable = [value for value in values if math.isfinite(value)]
    return mean(usable) if usable else math.nan
