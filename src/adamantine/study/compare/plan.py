"""What a comparison is asked to do, and which of it decides the result of a run."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from adamantine.errors import UsageError
from adamantine.study.runs.tasks import FRESH
from adamantine.train.schedules import check_schedule
from adamantine.train.seeds import LIMIT, check_seed

TuneFor = Literal["metric", "loss", "train-loss"]


@dataclass(frozen=True)
class Plan:
    """A comparison's settings.

    Parameters
    ----------
    contestants
        Contestants as typed; see :mod:`adamantine.study.settings.contestants`.
    seeds
        Final runs of each contestant, at least 1; intervals need 2.
    budget
        Settings tried for each contestant, at least 1; 1 tries only the defaults. If the space has
        fewer settings, fewer are tried.
    tuning_seeds
        Runs of each setting tried, 1 to 1,000.
    epochs, batch_size, schedule
        As in :class:`~adamantine.train.TrainConfig`, the same for every run.
    space
        The values of ``--space``; see :mod:`adamantine.study.settings.space`.
    tune_for
        The score by which settings are chosen, at a run's end: ``"metric"`` or ``"loss"`` of the
        validation data, or ``"train-loss"``, the mean since the previous validation.
    target
        The validation metric that times are measured to; None for the worst contestant's best.
    tolerance
        Learning rates count as good within this share of the best score; in (0, 1).
    looks
        Validations per epoch, at least 1.
    seed
        The seeds of all runs follow from it.
    device
        ``"cpu"``, ``"cuda"`` …

    Raises
    ------
    UsageError
        A setting is outside its range; the message names both.
    """

    contestants: tuple[str, ...]
    seeds: int = 10
    budget: int = 8
    tuning_seeds: int = 3
    epochs: int = 5
    batch_size: int = 64
    schedule: str = "none"
    space: tuple[str, ...] = ()
    tune_for: TuneFor = "metric"
    target: float | None = None
    tolerance: float = 0.01
    looks: int = 4
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.contestants:
            raise UsageError("there are no contestants; name at least one, such as adam")
        for name in ("seeds", "budget", "tuning_seeds", "epochs", "batch_size", "looks"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.tuning_seeds > FRESH:
            raise UsageError(f"tuning_seeds is {self.tuning_seeds}, expected at most {FRESH}")
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}, expected a share between 0 and 1")
        if self.target is not None and not math.isfinite(self.target):
            raise UsageError(f"target is {self.target}, expected a finite number")
        if self.tune_for not in get_args(TuneFor):
            expected = ", ".join(get_args(TuneFor))
            raise UsageError(f"tune_for is {self.tune_for!r}, expected one of {expected}")
        check_schedule(self.schedule)
        check_seed(self.seed)
        if self.seed + FRESH + self.seeds > LIMIT:
            raise UsageError(f"seed is {self.seed}, expected room for the seeds that follow it")

    @property
    def seeds_of_tuning(self) -> list[int]:
        """Seeds of the runs that choose settings."""
        return [self.seed + index for index in range(self.tuning_seeds)]

    @property
    def seeds_of_finals(self) -> list[int]:
        """Seeds of the runs that are judged. With more `seeds`, the first ones stay the same."""
        return [self.seed + FRESH + index for index in range(self.seeds)]

    @property
    def runs_of_each(self) -> int:
        """The largest number of runs of one contestant, tuning and finals."""
        return self.budget * self.tuning_seeds + self.seeds

    def to_json(self) -> dict[str, Any]:
        """Its settings, with the seeds written out."""
        return {
            **vars(self),
            "contestants": list(self.contestants),
            "space": list(self.space),
            "seeds_of_tuning": self.seeds_of_tuning,
            "seeds_of_finals": self.seeds_of_finals,
        }
