"""What a search for settings is asked to do."""

from dataclasses import dataclass
from typing import Any

from adamantine.errors import UsageError
from adamantine.study.runs.tasks import FRESH
from adamantine.train.schedules import check_schedule
from adamantine.train.seeds import LIMIT, check_seed

SEARCH = 1_000_000
"""Trials' seeds begin so far beyond all others, so that no seed serves two purposes."""
SAMPLERS = ("tpe", "gp", "cmaes", "random")


@dataclass(frozen=True)
class TunePlan:
    """A search's settings.

    Parameters
    ----------
    contestants
        Contestants as typed; see :mod:`adamantine.study.settings.contestants`. If there are
        several, the search also finds which one to use.
    trials
        Settings tried, in all processes on all machines together; at least 1.
    epochs, batch_size, schedule
        As in :class:`~adamantine.train.TrainConfig`, unless `space` searches them.
    space
        The values of ``--space``; see :mod:`adamantine.study.settings.space` and
        :mod:`adamantine.study.tune.suggest`.
    seeds
        Final runs of the setting found and of the defaults, at least 1; an interval needs 2.
    looks
        Validations per epoch, at least 1.
    pruning
        Whether trials that do badly are stopped early.
    floor
        Epochs that every trial gets, at least 1.
    sampler
        One of :data:`SAMPLERS`; ``docs/tune.md`` compares them.
    seed
        The seeds of all runs and the sampler's draws follow from it.
    device
        ``"cpu"``, ``"cuda"`` …

    Raises
    ------
    UsageError
        A setting is outside its range; the message names both.
    """

    contestants: tuple[str, ...]
    trials: int = 50
    epochs: int = 5
    batch_size: int = 64
    schedule: str = "none"
    space: tuple[str, ...] = ()
    seeds: int = 5
    looks: int = 4
    pruning: bool = True
    floor: int = 1
    sampler: str = "tpe"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.contestants:
            raise UsageError("there is no optimizer to tune; name at least one, such as adam")
        for name in ("trials", "epochs", "batch_size", "seeds", "looks", "floor"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.sampler not in SAMPLERS:
            raise UsageError(f"sampler is {self.sampler!r}, expected one of {', '.join(SAMPLERS)}")
        check_schedule(self.schedule)
        check_seed(self.seed)
        if self.seed + SEARCH + self.trials > LIMIT:
            raise UsageError(f"seed is {self.seed}, expected room for the seeds that follow it")

    @property
    def seeds_of_finals(self) -> list[int]:
        """Seeds of the runs that see the test set: those of a comparison with the same seed."""
        return [self.seed + FRESH + index for index in range(self.seeds)]

    @property
    def training(self) -> dict[str, Any]:
        """The values of those settings of the loop that could be searched but are not."""
        return {"batch_size": self.batch_size, "schedule": self.schedule}

    def seed_of_trial(self, slot: int) -> int:
        """Each trial has its own seed, so that no setting wins by the luck of a single seed."""
        return self.seed + SEARCH + slot

    def to_json(self) -> dict[str, Any]:
        """Its settings, with the final seeds written out."""
        return {
            **vars(self),
            "contestants": list(self.contestants),
            "space": list(self.space),
            "seeds": self.seeds_of_finals,
        }
