"""What a search for a learning rate measured and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adamantine.records.fields import Record
from adamantine.records.study import Finding


@dataclass(frozen=True)
class Spread:
    """A learning rate, and the least and the greatest that a single seed gives for it."""

    value: float
    least: float
    most: float


@dataclass(frozen=True)
class Sweep:
    """One run per seed, whose learning rate grows by the same factor in every step.

    Parameters
    ----------
    rates
        Of the steps.
    losses
        For each seed the loss of each step's batch; NaN from where it was not finite.
    smoothed
        Their median over the seeds, smoothed.
    """

    rates: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    smoothed: tuple[float, ...]


@dataclass(frozen=True)
class Held:
    """Short trainings at one learning rate, one per seed.

    Parameters
    ----------
    rate
        The learning rate.
    losses
        For each seed the mean loss of its last quarter; NaN where it was not finite.
    progress
        The decrease of the loss, as a mean over the seeds and a share of the largest decrease at
        any rate: 1 for the best rate, 0 if the loss did not decrease at all.
    """

    rate: float
    losses: tuple[float, ...]
    progress: float


@dataclass(frozen=True)
class LrFindRecord(Record):
    """Learning rates that train a workload with an optimizer, and one to begin with.

    Parameters
    ----------
    workload, optimizer
        Names.
    settings
        The optimizer's, apart from the learning rate.
    batch_size
        Examples a step; None where the data bring batches of their own.
    seed, seeds
        The first seed, and how many follow one another.
    steps
        Of each short training; a sweep has twice as many.
    steps_taken
        In all.
    start_loss
        Mean over the seeds of the first batch's loss.
    sweep
        The classical curve; it only decides which rates to hold.
    held
        By rising rate.
    suggestion
        The learning rate to begin with.
    low, high
        Ends of the range in which short trainings make nearly the best progress.
    diverges_at
        The smallest rate held whose training loses half of the best progress or more; None if there
        is none up to the end of the search.
    reason
        Why this suggestion, in a sentence or two.
    verdict
        What to use, in a sentence.
    """

    NAME: ClassVar[str] = "lr_find record"

    workload: str
    optimizer: str
    settings: Mapping[str, Any]
    batch_size: int | None
    seed: int
    seeds: int
    steps: int
    steps_taken: int
    start_loss: float
    sweep: Sweep
    held: tuple[Held, ...]
    suggestion: Spread
    low: Spread
    high: Spread
    diverges_at: float | None
    reason: str
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    verdict: tuple[Finding, ...] = ()
