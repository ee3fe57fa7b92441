"""A bar on standard error with rows below it, for what takes long."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from adamantine.cli.output.terminal import SECONDS_BETWEEN_UPDATES

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress


class LiveBar:
    """Nothing until it is moved; nothing is left of it when it is closed."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._next_update = 0.0

    def move(self, what: str, total: int, done: int) -> None:
        """Show a bar called `what`, in the place of another one if that was called otherwise."""
        progress = self._progress or self._start()
        tasks = progress.tasks
        if tasks and tasks[-1].description == what:
            progress.update(tasks[-1].id, total=total, completed=done)
            return
        for task in tasks:
            progress.remove_task(task.id)
        progress.add_task(what, total=total, completed=done)

    @property
    def is_due(self) -> bool:
        """Whether it is there and was not drawn within a tenth of a second."""
        return self._live is not None and monotonic() >= self._next_update

    def draw(self, rows: Iterable[Iterable[str]]) -> None:
        """Draw the bar, and `rows` of cells below it."""
        if not self._live or not self._progress:
            return
        from rich.console import Group
        from rich.table import Table

        self._next_update = monotonic() + SECONDS_BETWEEN_UPDATES
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self._live.update(Group(self._progress, table), refresh=True)

    def close(self) -> None:
        """Take it away, if it is there."""
        if self._live:
            self._live.stop()
            self._live = None

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(elapsed_when_finished=True),
            auto_refresh=False,  # a thread that draws would take time from the runs
        )
        self._live = Live(
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        return self._progress
