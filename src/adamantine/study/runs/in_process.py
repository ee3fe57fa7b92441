"""Runs done in this process, one after another: for workloads that are objects, not names."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from adamantine.records import Look, TrialRun
from adamantine.study.runs.tasks import Task
from adamantine.study.runs.training import RunContext, RunFailedError, train_once
from adamantine.train.seeds import rng_state, set_rng_state


class InProcess:
    """As :class:`~adamantine.study.runs.workers.Workers`, without processes.

    Parameters
    ----------
    on_step
        Called after every step of every run; what it raises stops the study.
    on_look
        Told of every look at a task's run; true if the run shall stop there.
    skip_failed
        Whether a run that fails is a result, too; else its error is raised.
    """

    def __init__(
        self,
        context: RunContext,
        on_step: Callable[[], None],
        on_look: Callable[[Task, Look], bool] | None = None,
        *,
        skip_failed: bool = False,
    ) -> None:
        self._context, self._on_step, self._on_look = context, on_step, on_look
        self._skip_failed = skip_failed
        self._waiting: deque[Task] = deque()

    def add(self, task: Task) -> None:
        """Queue a task."""
        self._waiting.append(task)

    @property
    def size(self) -> int:
        """Runs at a time."""
        return 1

    @property
    def busy(self) -> int:
        """Tasks queued."""
        return len(self._waiting)

    def finished(self, seconds: float) -> Iterator[TrialRun]:  # noqa: ARG002 - it never waits
        """The next run, done now."""
        if self._waiting:
            task = self._waiting.popleft()
            on_look = partial(self._on_look, task) if self._on_look else None
            before = rng_state()  # a run seeds the global generators, which are the caller's
            try:
                run = train_once(self._context, task, self._on_step, on_look)
            except RunFailedError as error:
                if not self._skip_failed:
                    raise
                run = error.run
            finally:
                set_rng_state(before)
            yield run

    def close(self) -> None:
        """Forget what is queued."""
        self._waiting.clear()
