"""What a tracker is told, and what it promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["finished", "pruned", "diverged", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """A training, or a study that has trainings as its children.

    Parameters
    ----------
    id
        Hexadecimal, and the same whenever this run is told of, also by another process after a
        kill. It is how a tracker knows what it holds already.
    name
        For people; two runs may share it.
    settings
        All that was chosen: numbers, words, and lists of them.
    parent
        The study that it belongs to; None for a study, and for a training of its own.
    is_study
        Whether others are its children; it has no looks then.
    """

    id: str
    name: str
    settings: Mapping[str, Any]
    parent: "TrackedRun | None" = None
    is_study: bool = False


@dataclass(frozen=True)
class TrackedLook:
    """Numbers at one step of a run; a run has at most one look at a step.

    Parameters
    ----------
    step
        Steps taken in a study's run, epochs done in a training of its own.
    values
        By name; they may be infinite or NaN.
    """

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    status
        In a word.
    step
        Its last.
    values
        Numbers that there are only at the end, by names that its looks do not have.
    text
        A study's verdict, or why a run failed.
    """

    status: Status
    step: int
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


class Tracker(Protocol):
    """Receives runs, and holds each number once however often it is told.

    All methods may be called again with what they were called with before, in this process or in
    one that goes on after a kill at any moment: what is held already is passed over, what is
    missing is added. So a tracker never needs to know where the last process stopped.
    """

    def begin(self, run: TrackedRun) -> None:
        """A run begins or goes on. A parent comes before its children."""

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """Looks at a run that has begun, in the order of their steps."""

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """The run is over."""

    def close(self) -> None:
        """No more is told in this process; runs that have not ended may go on in another."""
