"""What sentences are made of: what was computed, and the final runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adamantine.records import Contestant, Difference, TrialRun
from adamantine.study.statistics.trials import Direction


@dataclass(frozen=True)
class Subject:
    """What a verdict and claims are about.

    Parameters
    ----------
    metric, direction, target
        As in :class:`adamantine.records.StudyRecord`.
    epochs
        The budget.
    tolerance
        That of the widths.
    contestants, differences
        All of them.
    finals
        The final runs by contestant.
    shortfalls
        How much worse than the best one each is at most, where that is known.
    """

    metric: str
    direction: Direction
    target: float
    epochs: float
    tolerance: float
    contestants: Sequence[Contestant]
    differences: Sequence[Difference]
    finals: Mapping[str, Sequence[TrialRun]]
    shortfalls: Mapping[str, float] = field(default_factory=dict)
