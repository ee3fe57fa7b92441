"""How the trainer tells what it is doing to whoever wants to show it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from adamantine.records import EpochRecord, RunRecord
from adamantine.trackers import Outcome, Tracker
from adamantine.trackers.of_records import look_of_epoch, training
from adamantine.trackers.session import Trackers

P = ParamSpec("P")
R = TypeVar("R")


class Callbacks:
    """Called by the trainer during a run; override the methods you need.

    An exception raised here stops the run like any other: the last checkpoint stays.
    """

    def on_epoch_start(self, epoch: int, steps: int | None) -> None:
        """Before epoch `epoch` of `steps` steps; None where the data does not say how many."""

    def on_step(self, step: int) -> None:
        """After step `step` of the epoch, counted from 1. Called often: keep it cheap."""

    def on_test(self) -> None:
        """After the epoch's last step, before the test."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """After the epoch, and after its checkpoint is safe."""


class Caller:
    """Calls back, and remembers what was raised there: that is no failure of the run's."""

    error: Exception | None = None

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function` returns."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self.error = error
            raise


class RunTracking:
    """Tells trackers of a run, from its record: what that holds, they hold.

    Epochs are told after their checkpoint is safe, and all of them once more when a run goes on:
    so a kill between the two loses none.

    Parameters
    ----------
    wanted
        Names, and trackers of the caller's own.
    folder
        The run's, if it has one.
    """

    def __init__(self, wanted: Sequence[str | Tracker], folder: Path | None) -> None:
        self._trackers = Trackers(wanted, folder)

    def begin(self, record: RunRecord) -> None:
        """The run begins, or goes on after the epochs of its record."""
        self._run = training(record)
        self._trackers.begin(self._run)
        self._trackers.log(self._run, [look_of_epoch(epoch) for epoch in record.epochs])

    def on_epoch_end(self, record: RunRecord) -> None:
        """The last epoch of the record has ended."""
        self._trackers.log(self._run, [look_of_epoch(record.epochs[-1])])

    def end(self, record: RunRecord) -> None:
        """The run has ended; of one that was interrupted, that is not said."""
        if record.status in ("finished", "diverged", "failed"):
            self._trackers.end(self._run, Outcome(record.status, len(record.epochs)))

    def close(self) -> None:
        """Nothing more is told."""
        self._trackers.close()
