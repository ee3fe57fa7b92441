"""Runs done in this process, one after another: for workloads that are objects, not names."""

from collections import deque
from collections.abc import Callable, Iterator

from adamantine.records import TrialRun
from adamantine.study.tasks import Task
from adamantine.study.training import Arena, train_once


class Here:
    """As :class:`~adamantine.study.workers.Workers`, without processes.

    Parameters
    ----------
    on_step
        Called after every step of every run; what it raises stops the comparison.
    """

    def __init__(self, arena: Arena, on_step: Callable[[], None]) -> None:
        self._arena, self._on_step = arena, on_step
        self._waiting: deque[Task] = deque()

    def add(self, task: Task) -> None:
        """Queue a task."""
        self._waiting.append(task)

    @property
    def busy(self) -> int:
        """Tasks queued."""
        return len(self._waiting)

    def finished(self, seconds: float) -> Iterator[TrialRun]:  # noqa: ARG002 - it never waits
        """The next run, done now."""
        if self._waiting:
            yield train_once(self._arena, self._waiting.popleft(), self._on_step)

    def close(self) -> None:
        """Forget what is queued."""
        self._waiting.clear()
