"""One run of a study: train, look at the validation data, and test once at the end."""

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.errors import AdamantineError, DivergedError
from adamantine.optim import RuleOptimizer
from adamantine.records import Divergence, Look, ParameterRecord, TrialRun
from adamantine.records.mean import mean
from adamantine.study.runs.tasks import Task, failed_run, in_words
from adamantine.study.settings.contestants import Contestant, parse_contestant
from adamantine.train.callbacks import Caller
from adamantine.train.config import TrainConfig
from adamantine.train.devices import moved, placed
from adamantine.train.diagnosis import failure, is_divergence, tensors_in
from adamantine.train.epoch_stats import EpochStats
from adamantine.train.loop import evaluate, to_evaluation, to_training, train_epoch
from adamantine.train.schedules import build_schedule
from adamantine.train.seeds import data_order, seed_everything
from adamantine.train.tables import up_to_date
from adamantine.workloads import batch_count, batches, for_tuning, in_memory
from adamantine.workloads.protocol import Data, Workload


@dataclass(frozen=True, eq=False)
class RunContext:
    """What all runs of a study share.

    Parameters
    ----------
    tuning
        The workload with validation data where its test set was.
    test
        The test set, which only final runs get to see.
    config
        The loop's settings; its seed is not used.
    looks
        Looks at the validation data in an epoch.
    device
        Where models train.
    contestants
        Those that have been here, by spec.
    warm
        What of them has taken a step here: specs with the names of settings.
    with_stats
        Whether runs tell what the steps before looks did, where their optimizer can say it.
    """

    tuning: Workload
    test: Data
    config: TrainConfig
    looks: int
    device: torch.device
    contestants: dict[str, Contestant] = field(default_factory=dict)
    warm: set[tuple[str, ...]] = field(default_factory=set)
    with_stats: bool = False

    @classmethod
    def of(
        cls,
        workload: Workload,
        config: TrainConfig,
        looks: int,
        device: str,
        *,
        with_stats: bool = False,
    ) -> "RunContext":
        """Splits validation data off, always the same ones, and moves what is in memory."""
        place = torch.device(device)
        tuning = for_tuning(workload)
        parts = (placed(part, place) for part in (tuning.train, tuning.test, workload.test))
        train, validation, test = parts
        kept = Workload(tuning.name, tuning.model, train, validation, tuning.loss, tuning.metric)
        return cls(kept, test, config, looks, place, with_stats=with_stats)

    @property
    def examples(self) -> dict[str, int | None]:
        """How many there are to train on, to choose by and to test with; None if not known."""
        parts = {"train": self.tuning.train, "validation": self.tuning.test, "test": self.test}
        return {name: len(d[0]) if in_memory(d) else None for name, d in parts.items()}

    def contestant(self, spec: str) -> Contestant:
        """The one that `spec` names; parsing builds it once, to see whether it can be."""
        if spec not in self.contestants:
            self.contestants[spec] = parse_contestant(spec)
        return self.contestants[spec]

    def settings(self, contestant: Contestant, task: Task) -> Mapping[str, Any]:
        """Those to build its optimizer with; which steps are measured is left to the run."""
        measured = {**task.settings, "collect_stats": sys.maxsize}
        if (
            self.with_stats
            and issubclass(contestant.cls, RuleOptimizer)
            and contestant.takes(measured)
        ):
            return measured
        return task.settings


OnLook = Callable[[Look], bool]
"""Told of every look; true if the run shall stop there."""


def train_once(
    context: RunContext,
    task: Task,
    on_step: Callable[[], None] | None = None,
    on_look: OnLook | None = None,
) -> TrialRun:
    """Train as `task` asks; a run that diverges is a result as well.

    Parameters
    ----------
    on_step
        Called after every step; what it raises stops the run.
    on_look
        Told of every look. Where it says so, the run ends there, pruned, which is a result, too.

    Raises
    ------
    RunFailedError
        The model, the data, the loss, the metric or the optimizer raised an exception, and not
        because the run had diverged.
    AdamantineError
        The optimizer or the workload refuses to be used so.
    """
    config, workload = replace(context.config, **task.training), context.tuning
    monitor = _RunMonitor(context, batch_count(workload.train, config.batch_size), on_step, on_look)
    try:
        return _train(context, task, config, monitor)
    except AdamantineError:
        raise
    except Exception as error:
        if error is monitor.caller.error:
            raise
        raise RunFailedError(error, task, monitor) from error


def _train(
    context: RunContext, task: Task, config: TrainConfig, monitor: "_RunMonitor"
) -> TrialRun:
    contestant, workload = context.contestant(task.spec), context.tuning
    _warm_up(context, contestant, task)
    seed_everything(task.seed)
    for data in (workload.train, workload.test, context.test):
        if isinstance(own := getattr(data, "generator", None), torch.Generator):
            own.manual_seed(task.seed)
    model = monitor.model = workload.model().to(context.device)
    settings = context.settings(contestant, task)
    optimizer = monitor.optimizer = contestant.build(model, settings)
    monitor.step_stats = EpochStats(optimizer) if settings is not task.settings else None
    schedule = build_schedule(config.schedule, optimizer, config.epochs, monitor.steps_an_epoch)
    order = data_order(task.seed)
    seed_everything(task.seed)
    diverged = None
    test_loss = test_metric = None
    pruned = False
    try:
        with up_to_date(model, optimizer):
            for epoch in range(1, config.epochs + 1):
                monitor.begin(epoch)
                train_epoch(
                    model,
                    monitor.loss,
                    optimizer,
                    moved(batches(workload.train, config.batch_size, order), context.device),
                    epoch=epoch,
                    device=context.device,
                    on_step=monitor.on_step,
                    scheduler=schedule.scheduler if schedule and schedule.per == "batch" else None,
                )
                if schedule and schedule.per == "epoch":
                    schedule.scheduler.step()
                monitor.end()
        if task.purpose == "final":
            test_loss, test_metric = monitor.judge(context.test)
    except DivergedError as error:
        monitor.stop()
        diverged = Divergence(monitor.steps_before + error.step, error.loss)
    except _Pruned:
        pruned = True
    return TrialRun(
        contestant=task.contestant,
        purpose=task.purpose,
        settings=task.settings,
        seed=task.seed,
        looks=tuple(monitor.looks),
        steps=monitor.steps,
        seconds=monitor.seconds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        state_bytes=bytes_of_state(optimizer),
        test_loss=test_loss,
        test_metric=test_metric,
        diverged=diverged,
        training=task.training,
        pruned=pruned,
        stats=tuple(monitor.stats),
    )


class RunFailedError(AdamantineError):
    """A run ended in an exception that is no divergence; the message names its settings.

    Attributes
    ----------
    run
        It as a result, for who goes on without it: it counts as one that diverged.
    """

    def __init__(self, error: Exception, task: Task, monitor: "_RunMonitor") -> None:
        where = "before its first step" if monitor.model is None else monitor.place
        said = failure(error, f"the run of {in_words(task)} ({where})")
        super().__init__(f"{said}. To go on without it: --skip-failed (skip_failed=True)")
        self.run = failed_run(
            task, f"{type(error).__name__}: {error}", monitor.steps, monitor.looks, monitor.stats
        )


def _warm_up(context: RunContext, contestant: Contestant, task: Task) -> None:
    """A step of a model that is thrown away, the first time: what is compiled is not timed.

    Two where the first one is measured, which has a kernel of its own.
    """
    key = (task.spec, *sorted(task.settings))
    if key in context.warm:
        return
    context.warm.add(key)
    workload = context.tuning
    seed_everything(task.seed)
    model = workload.model().to(context.device)
    settings = context.settings(contestant, task)
    optimizer = contestant.build(model, settings)
    to_training(optimizer)
    stream = moved(batches(workload.train, context.config.batch_size), context.device)
    inputs, targets = next(iter(stream))
    try:
        workload.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        for _ in range(1 + (settings is not task.settings)):
            optimizer.step()
    except Exception as error:
        if not is_divergence(error, model):  # else the run itself will tell
            raise


class _Pruned(Exception):  # noqa: N818 - no error
    """Leaves the loop where a run is to stop."""


@dataclass
class _RunMonitor:
    """Keeps the time, and looks at the validation data so many times an epoch."""

    context: RunContext
    steps_an_epoch: int | None
    step_callback: Callable[[], None] | None
    look_callback: OnLook | None
    model: nn.Module | None = None
    """Set when the run begins, as is `optimizer`."""
    optimizer: Optimizer | None = None
    caller: Caller = field(default_factory=Caller)
    looks: list[Look] = field(default_factory=list)
    step_stats: EpochStats | None = None
    """Measures the steps before looks; of an epoch whose length is not known, the first."""
    stats: list[Mapping[str, ParameterRecord]] = field(default_factory=list)
    steps: int = 0
    steps_before: int = 0
    """Taken in the epochs before this one."""
    seconds: float = 0.0
    _epoch: int = 0
    _losses: list[Tensor] = field(default_factory=list)
    _since: float = 0.0

    @property
    def place(self) -> str:
        """Where it is, as far as steps tell."""
        return f"epoch {self._epoch}, after step {self.steps - self.steps_before}"

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        self._epoch, self.steps_before = epoch, self.steps
        self._before_step(1)
        self._since = perf_counter()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The workload's, which is remembered for the next look."""
        loss = self.context.tuning.loss(outputs, targets)
        self._losses.append(loss.detach())
        return loss

    def on_step(self, step: int) -> None:
        """Look, if it is time to; the epoch's last look is :meth:`end`'s."""
        self.steps = self.steps_before + step
        if self.step_callback:
            self.caller(self.step_callback)
        if self.steps_an_epoch is None or step == self.steps_an_epoch:
            return
        if self._is_look(step):
            self._look(self._epoch - 1 + step / self.steps_an_epoch)
            assert self.model
            assert self.optimizer
            self.model.train()
            to_training(self.optimizer)
        self._before_step(step + 1)

    def end(self) -> None:
        """The epoch's last look; there was one just now where a loader ends before it said."""
        if self._losses:
            self._look(float(self._epoch))

    def stop(self) -> None:
        """Count the time since the last look."""
        self.seconds += perf_counter() - self._since

    def judge(self, data: Data) -> tuple[float, float]:
        """Loss and metric over `data`."""
        workload = self.context.tuning
        assert self.model
        assert self.optimizer
        to_evaluation(self.optimizer)
        # A loader draws from the global generator, which belongs to the training.
        apart = nullcontext() if in_memory(data) else torch.random.fork_rng(devices=[])
        with apart:
            stream = moved(batches(data, self.context.config.test_batch_size), self.context.device)
            return evaluate(self.model, workload.loss, workload.metric, stream)

    def _is_look(self, step: int) -> bool:
        """Whether a look comes after it, in an epoch of known length."""
        looks, total = self.context.looks, self.steps_an_epoch
        return total is not None and step * looks // total > (step - 1) * looks // total

    def _before_step(self, step: int) -> None:
        known = self.steps_an_epoch is not None
        if self.step_stats and (self._is_look(step) if known else step == 1):
            self.step_stats.begin()

    def _look(self, epoch: float) -> None:
        train_loss = mean(torch.stack(self._losses).tolist())
        self.stop()
        self._losses.clear()
        measured = None
        if self.step_stats:
            self.step_stats.look()
            measured = self.step_stats.record()
        loss, metric = self.judge(self.context.tuning.test)
        self._since = perf_counter()
        if not math.isfinite(loss):
            # The step after the last batch broke it: there is no loss of training to say so.
            raise DivergedError(
                f"the validation loss became {loss}",
                epoch=self._epoch,
                step=self.steps - self.steps_before,
                loss=loss,
            )
        look = Look(self.steps, epoch, self.seconds, train_loss, loss, metric)
        self.looks.append(look)
        if measured is not None:
            self.stats.append(measured)
        if self.look_callback and self.caller(self.look_callback, look):
            raise _Pruned
        self._since = perf_counter()  # the answer may have taken a while


def bytes_of_state(optimizer: Optimizer) -> int:
    """Of all tensors in ``optimizer.state``."""
    return sum(tensor.nbytes for state in optimizer.state.values() for tensor in tensors_in(state))
