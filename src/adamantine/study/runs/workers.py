"""Processes that do runs, one torch thread each, and what becomes of them.

Not ``concurrent.futures``: its workers outlive a parent that is killed, and one killed worker
takes the pool with it, where here its run is simply done again by the next.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from adamantine.errors import AdamantineError
from adamantine.records import Look, TrialRun
from adamantine.study.runs import gpus
from adamantine.study.runs.tasks import ATTEMPTS, Task, failed_run, in_words
from adamantine.study.runs.training import (
    RunContext,
    RunFailedError,
    train_once,
)
from adamantine.train.diagnosis import failure

BuildContext = Callable[[], RunContext]
"""Builds the context in the process that does the runs; has to be picklable."""


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    place: int  # among those that work at the same time
    task: Task | None = None


class Workers:
    """Do tasks in as many processes, in any order.

    Parameters
    ----------
    jobs
        How many processes, at least 1.
    build
        Called once in each.
    on_look
        Called here, not there: told of every look at a task's run, which waits for the answer;
        true if the run shall stop there.
    skip_failed
        Whether a run that fails, or whose worker dies each time, is a result, too; else that is
        an error.
    device
        The runs' device: on ``"cuda"``, where there are several GPUs, each process gets its own.
    """

    def __init__(
        self,
        jobs: int,
        build: BuildContext,
        on_look: Callable[[Task, Look], bool] | None = None,
        *,
        skip_failed: bool = False,
        device: str = "cpu",
    ) -> None:
        self._device = device
        self._build_context, self._on_look, self._skip_failed = build, on_look, skip_failed
        self._context = multiprocessing.get_context("spawn")
        self._jobs = jobs
        self._workers: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._begun: dict[str, int] = {}
        self._given_up: list[TrialRun] = []

    def start(self, tasks: int) -> None:
        """Start processes for so many tasks, which load what they need while the caller does."""
        while len(self._workers) < min(tasks, self._jobs):
            self._start()

    def add(self, task: Task) -> None:
        """Queue a task."""
        self._waiting.append(task)
        self._hand_out()

    @property
    def size(self) -> int:
        """Runs at a time."""
        return self._jobs

    @property
    def busy(self) -> int:
        """Tasks queued or running."""
        at_work = sum(worker.task is not None for worker in self._workers)
        return len(self._waiting) + at_work + len(self._given_up)

    def finished(self, seconds: float) -> Iterator[TrialRun]:
        """Runs that have finished by now; waits so long for one.

        Raises
        ------
        AdamantineError
            What a run raised, or its worker died each time.
        """
        handles: dict[Any, _Worker] = {}
        for worker in self._workers:
            handles |= {worker.pipe: worker, worker.process.sentinel: worker}
        for worker in dict.fromkeys(handles[handle] for handle in wait([*handles], seconds)):
            if worker not in self._workers:  # buried since: the caller has added tasks
                continue
            run = self._hear(worker)
            if run is not None:
                yield run
        while self._given_up:
            yield self._given_up.pop()
        self._hand_out()

    def close(self) -> None:
        """Stop all of it now; runs that are not finished are lost."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()
        self._waiting.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) < self._jobs:
                idle = self._start()
            if idle is None:
                return
            task = self._waiting.popleft()
            self._begun[task.key] = self._begun.get(task.key, 0) + 1
            idle.task = task
            try:
                idle.pipe.send(task)
            except OSError:  # it died while it was idle
                self._requeue_task_of(idle)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        # No daemon, for data may be loaded by processes of a worker's own; close() ends it, or
        # the end of this process.
        watched = self._on_look is not None
        process = self._context.Process(
            target=_work,
            args=(theirs, self._build_context, watched, self._skip_failed),
            daemon=False,
        )
        taken = {worker.place for worker in self._workers}
        place = next(number for number in count() if number not in taken)
        with _deaf_to_ctrl_c(), gpus.of_worker(place, self._device):
            process.start()
        theirs.close()
        worker = _Worker(process, ours, place)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> TrialRun | None:
        try:
            answer = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, OSError):
            answer = None
        if answer is None:
            if not worker.process.is_alive():
                self._requeue_task_of(worker)
            return None
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Look):
            self._answer(worker, answer)
            return None
        worker.task = None
        run: TrialRun = answer
        return run

    def _answer(self, worker: _Worker, look: Look) -> None:
        assert worker.task
        assert self._on_look
        stop = self._on_look(worker.task, look)
        with suppress(OSError):  # it died while it waited; its end is noticed next
            worker.pipe.send(stop)

    def _requeue_task_of(self, worker: _Worker) -> None:
        """Take away a worker that died, and queue its task once more."""
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        task = worker.task
        if task is None:
            return
        if self._begun[task.key] < ATTEMPTS:
            self._waiting.appendleft(task)
            return
        reason = _exit(worker.process.exitcode)
        self._given_up.append(given_up(task, "process", reason, self._skip_failed))


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}; is there memory enough for so many --jobs?"
    return f"exit code {code}; it has printed why, if it could"


def _work(pipe: Connection, build: BuildContext, watched: bool, skip_failed: bool) -> None:
    """What a worker does: build the context, then one task after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to take
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)

    def on_look(look: Look) -> bool:
        pipe.send(look)
        stop: bool = pipe.recv()
        return stop

    task = None
    try:
        context = build()
        while True:
            try:
                task = pipe.recv()
            except (EOFError, OSError):  # the parent is gone
                return
            try:
                run = train_once(context, task, on_look=on_look if watched else None)
            except RunFailedError as error:
                if not skip_failed:
                    raise
                run = error.run
            pipe.send(run)
    except BaseException as error:
        with suppress(OSError):
            pipe.send(portable(error, task))


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started meanwhile ignores it from the beginning; a worker imports for seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def given_up(task: Task, who: str, reason: str, skip_failed: bool) -> TrialRun:
    """What becomes of a run whose worker died each time, and `who` that was.

    Raises
    ------
    AdamantineError
        It has to be done, as failed runs are not to be skipped.
    """
    died = f"died {ATTEMPTS} times ({reason})"
    if skip_failed:
        return failed_run(task, f"its {who} {died}")
    raise AdamantineError(
        f"the {who} that trained {in_words(task)} {died}. What is finished is kept: the same "
        "command goes on, and with --skip-failed (skip_failed=True) it does so without this run"
    )


def portable(error: BaseException, task: Task | None) -> AdamantineError:
    """The error itself if it survives the way to another process, else one that says the same."""
    if not isinstance(error, AdamantineError):
        return failure(error, f"the run of {in_words(task)}" if task else "preparing the runs")
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    same = isinstance(again, AdamantineError) and str(again) == str(error)
    return error if same else AdamantineError(str(error))
