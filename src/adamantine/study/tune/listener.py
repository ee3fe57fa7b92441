"""Who is told how a search goes on, and the files that a search writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adamantine.workloads.protocol import Metric

if TYPE_CHECKING:
    from adamantine.study.tune.search import SearchProgress

TUNE = "tune.json"
FILES = ("runs.jsonl", TUNE, "best.json", "optuna.journal")
"""In the folder of a search; the last one only where no storage is given."""


class TuneListener:
    """Receives the progress of a search; override the methods you need.

    An exception raised here stops the search. Finished trials stay in the storage, and running ones
    go back to the queue.
    """

    def on_search(self, progress: SearchProgress, metric: Metric) -> None:
        """The progress: called at the beginning, at the end, and twice a second in between."""

    def on_finals(self, total: int, done: int) -> None:
        """Of `total` rechecks or final runs, `done` have finished."""

    def check(self) -> None:
        """Called ten times a second, or after every step if runs are done in this process."""
