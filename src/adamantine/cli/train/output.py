"""What a person sees while a run trains: two lines an epoch, and a bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from adamantine.cli.interrupt import Interrupt
from adamantine.cli.output.terminal import SECONDS_BETWEEN_UPDATES
from adamantine.records import EpochRecord, to_line
from adamantine.report import format_metric
from adamantine.train import Callbacks

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID


class TrainOutput(Callbacks):
    """Prints every epoch to standard output.

    Parameters
    ----------
    as_json
        One JSON object an epoch instead of two lines.
    """

    on_terminal = False

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.began = False
        self.epochs = 0
        self.interrupt = Interrupt()
        self._epoch = self._steps = self.done = 0

    def close(self) -> None:
        """Leave the terminal as it was."""

    def finish(self) -> None:
        """Say what there is to be said after the last epoch."""

    def on_epoch_start(self, epoch: int, steps: int | None) -> None:  # noqa: ARG002
        """Note that something has been done that can be gone on with."""
        self.began = True
        self._epoch, self._steps, self.done = epoch, 0, epoch - 1

    def on_step(self, step: int) -> None:
        """Stop here if there was a Ctrl-C."""
        self._steps = step
        self.interrupt.check()

    @property
    def place(self) -> str:
        """Where the training is."""
        return f"epoch {self._epoch}, after step {self._steps}"

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Print the epoch's result."""
        self.epochs += 1
        self.done = record.epoch
        print(to_line(record) if self.as_json else epoch_lines(record), flush=True)


class Follower(TrainOutput):
    """Says nothing: the first process of the run does."""

    def on_step(self, step: int) -> None:
        """Ctrl-C is the first one's to heed."""
        self._steps = step

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Count."""
        self.epochs += 1
        self.done = record.epoch


class TerminalOutput(TrainOutput):
    """Also draws a bar on standard error, which is gone when the epoch's lines are printed."""

    on_terminal = True

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json=as_json)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._next_update = 0.0

    def above_the_bar(self) -> Iterable[RenderableType]:
        """What else is drawn."""
        return ()

    def on_epoch_start(self, epoch: int, steps: int | None) -> None:
        """Start the epoch's bar."""
        super().on_epoch_start(epoch, steps)
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        above = self.above_the_bar()

        class Bar(Progress):
            def get_renderables(self) -> Iterable[RenderableType]:
                yield from above
                yield from super().get_renderables()

        self._progress = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,  # a thread that draws would take time from the steps
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(f"Epoch {epoch}", total=steps)

    def on_step(self, step: int) -> None:
        """Move the bar, ten times a second at most."""
        super().on_step(step)
        now = monotonic()
        if now >= self._next_update and self._progress and self._task is not None:
            self._next_update = now + SECONDS_BETWEEN_UPDATES
            self._progress.update(self._task, completed=step, refresh=True)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Take the bar away and print the epoch's result."""
        self.close()
        super().on_epoch_end(record)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._progress:
            self._progress.stop()
            self._progress = None


def epoch_lines(record: EpochRecord) -> str:
    """The two lines of an epoch, without the last line's end."""
    name = record.metric[:1].upper() + record.metric[1:]
    metric = format_metric(record.metric, record.test_metric)
    return f"Epoch {record.epoch}, Average Loss: {record.average_loss:.4f}\nTest {name}: {metric}"


def train_output(*, as_json: bool) -> TrainOutput:
    """With a bar where standard error is a terminal."""
    return (TerminalOutput if sys.stderr.isatty() else TrainOutput)(as_json=as_json)
