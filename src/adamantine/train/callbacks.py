"""How the trainer tells what it is doing to whoever wants to show it."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from adamantine.records import EpochRecord

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
