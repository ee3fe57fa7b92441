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
    """Told how a search goes on; override what you need.

    An exception raised here stops the search. Trials that are finished stay in the storage, and
    those that are running go back to the queue.
    """

    def on_search(self, progress: SearchProgress, metric: Metric) -> None:
        """How far the search has come: at its beginning, its end, and twice a second between."""

    def on_finals(self, total: int, done: int) -> None:
        """Of the rechecks or the finals, `done` of `total` runs are."""

    def check(self) -> None:
        """Called ten times a second, or after every step where runs are done in this process."""
