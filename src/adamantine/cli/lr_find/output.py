"""What a person sees of a search for a learning rate: a bar for each run, then a few lines."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING

from adamantine.cli.interrupt import Interrupt
from adamantine.cli.output.terminal import SECONDS_BETWEEN_UPDATES
from adamantine.records.lr_find import LrFindRecord

if TYPE_CHECKING:
    from rich.progress import Progress


def summary(record: LrFindRecord) -> str:
    """What to use, and why, in a few lines."""
    found, low, high = record.suggestion, record.low, record.high
    diverges = (
        "not up to the end of the search"
        if record.diverges_at is None
        else f"at {record.diverges_at:.2g}"
    )
    seeds = f"{record.seeds} seed{'s' if record.seeds > 1 else ''}"
    decision = "".join(f"{finding.sentence}\n" for finding in record.verdict)
    return decision + (
        f"Learning rate: {found.value:.2g} ({found.least:.2g} to {found.most:.2g} over {seeds})\n"
        f"Range: {low.value:.2g} to {high.value:.2g} work in short trainings\n"
        f"Diverges: {diverges}\n"
        f"Why: {record.reason}\n"
        f"Cost: {record.steps_taken:,} steps"
    )


class Watch:
    """Stops at a Ctrl-C, and draws a bar for each run where standard error is a terminal."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        self._progress = _bar() if sys.stderr.isatty() else None
        self._next_update = 0.0

    def on_step(self, what: str, step: int, steps: int) -> None:
        """Move the bar, ten times a second at most."""
        self.interrupt.check()
        now = monotonic()
        if self._progress and now >= self._next_update:
            self._next_update = now + SECONDS_BETWEEN_UPDATES
            if not self._progress.tasks:
                self._progress.start()
                self._progress.add_task("")
            task = self._progress.task_ids[0]
            self._progress.update(task, description=what, completed=step, total=steps, refresh=True)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._progress:
            self._progress.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,  # a thread that draws would take time from the steps
        redirect_stdout=False,
        redirect_stderr=False,
    )
