"""Runs done by a Ray cluster: as by workers of our own, with the same bits."""

import asyncio
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from adamantine.errors import AdamantineError
from adamantine.records import Look, TrialRun
from adamantine.study.runs.conditions import COMPUTING, fingerprint
from adamantine.study.runs.ray_pool import Lost, RayPool
from adamantine.study.runs.tasks import Task
from adamantine.study.runs.training import (
    RunContext,
    RunFailedError,
    train_once,
)
from adamantine.study.runs.workers import BuildContext, given_up, portable
from adamantine.train.machine import versions

_contexts: dict[bytes, RunContext] = {}
"""In a worker: those that it has built. Ray lets a worker do many tasks."""


class RayWorkers:
    """As :class:`~adamantine.study.runs.workers.Workers`, on other machines as well.

    Parameters
    ----------
    pool
        The cluster, with one processor for each run.
    build
        Called in workers; has to be picklable.
    here
        The same context in this process: workers have to have these versions and data.
    on_look
        As for :class:`~adamantine.study.runs.workers.Workers`.
    skip_failed
        Likewise.
    """

    def __init__(
        self,
        pool: RayPool,
        build: BuildContext,
        here: RunContext,
        on_look: Callable[[Task, Look], bool] | None = None,
        *,
        skip_failed: bool = False,
    ) -> None:
        self._pool, self._build, self._skip_failed = pool, pickle.dumps(build), skip_failed
        self._alike = _alike(here)
        self._tasks: dict[str, Task] = {}
        self._on_look = on_look
        self._questions = _Questions(pool._ray) if on_look else None

    @property
    def size(self) -> int:
        """Runs at a time."""
        return self._pool.size

    @property
    def busy(self) -> int:
        """Tasks queued or running."""
        return self._pool.busy

    def add(self, task: Task) -> None:
        """Queue a task."""
        self._tasks[task.key] = task
        ask = self._questions and self._questions.actor
        self._pool.add(task.key, _work, self._build, self._alike, task, ask, self._skip_failed)

    def finished(self, seconds: float) -> Iterator[TrialRun]:
        """Runs that have finished by now; waits so long for one.

        Raises
        ------
        AdamantineError
            What a run raised, or its worker or node died each time.
        """
        others = [self._questions.next()] if self._questions else []
        results, asked = self._pool.finished(seconds, *others)
        if asked and self._questions:
            self._answer(self._questions)
        for _, result in results:
            if isinstance(result, TrialRun):
                yield result
        for key, result in results:  # after what has gone well, so that it is kept
            if isinstance(result, AdamantineError):
                raise result
            if isinstance(result, Lost):
                yield given_up(self._tasks[key], "worker", result.reason, self._skip_failed)
        self._pool.hand_out()

    def close(self) -> None:
        """Stop all of it now; runs that are not finished are lost."""
        self._pool.close()

    def _answer(self, questions: "_Questions") -> None:
        assert self._on_look
        for number, key, look in questions.asked():
            questions.answer(number, self._on_look(self._tasks[key], look))


class _Questions:
    """Looks on their way from workers to here, and answers on their way back."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # Where this process is, which is the one place that must not die.
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self.actor = ray.remote(num_cpus=0, max_concurrency=10_000, scheduling_strategy=strategy)(
            _Mailbox
        ).remote()
        self._next: Any = None

    def next(self) -> Any:
        """A reference that is ready when somebody has asked."""
        if self._next is None:
            self._next = self.actor.next.remote()
        return self._next

    def asked(self) -> list[tuple[int, str, Look]]:
        """Numbers, keys of tasks, and looks."""
        ready, self._next = self._next, None
        found: list[tuple[int, str, Look]] = self._ray.get(ready)
        return found

    def answer(self, number: int, stop: bool) -> None:
        """Let the worker go on, or stop."""
        self.actor.answer.remote(number, stop)


class _Mailbox:
    """An actor of Ray's: workers ask it, and this process asks it what they ask."""

    def __init__(self) -> None:
        self._asked: list[tuple[int, str, Look]] = []
        self._futures: dict[int, asyncio.Future[bool]] = {}
        self._count = 0
        self._any = asyncio.Event()

    async def ask(self, key: str, look: Look) -> bool:
        self._count += 1
        number, future = self._count, asyncio.get_running_loop().create_future()
        self._futures[number] = future
        self._asked.append((number, key, look))
        self._any.set()
        return bool(await future)

    async def next(self) -> list[tuple[int, str, Look]]:
        await self._any.wait()
        self._any.clear()
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, number: int, stop: bool) -> None:
        self._futures.pop(number).set_result(stop)


def _work(
    build: bytes, alike: Mapping[str, Any], task: Task, mailbox: Any, skip_failed: bool
) -> TrialRun | AdamantineError:
    """In the worker: one run."""
    torch.set_num_threads(1)
    doing: Task | None = None

    def on_look(look: Look) -> bool:
        import ray

        return bool(ray.get(mailbox.ask.remote(task.key, look)))

    try:
        if build not in _contexts:
            context: RunContext = pickle.loads(build)()
            _check_alike(alike, _alike(context))
            _contexts[build] = context
        doing = task
        return train_once(_contexts[build], task, on_look=on_look if mailbox else None)
    except RunFailedError as error:
        return error.run if skip_failed else portable(error, doing)
    except BaseException as error:
        return portable(error, doing)


def _alike(context: RunContext) -> dict[str, Any]:
    """What has to be the same on all machines."""
    packages = versions()
    return {
        **{f"version of {name}": packages[name] for name in COMPUTING},
        "sum over model and data": fingerprint(context, exact=False),
    }


def _check_alike(expected: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if here[name] != value:
            raise AdamantineError(
                f"on node {platform.node()}, the {name} is {here[name]}, and {value} where the "
                "study was started: install the same there, and copy the same data"
            )
