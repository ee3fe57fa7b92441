"""Train a model on a workload with an optimizer, and keep a record of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from adamantine.errors import AdamantineError, CheckpointError, DivergedError, ProcessLostError
from adamantine.records import EpochRecord, RunRecord, Status, check_metric_name
from adamantine.trackers import Tracker
from adamantine.trackers.session import check as check_trackers
from adamantine.train.callbacks import Callbacks, RunTracking
from adamantine.train.checkpoint import State
from adamantine.train.config import TrainConfig, describe, device_of
from adamantine.train.devices import moved, placed
from adamantine.train.diagnosis import diverged, weights_are_sane
from adamantine.train.epoch_stats import EpochStats
from adamantine.train.folder import IfExists, RunFolder
from adamantine.train.loop import evaluate, to_evaluation, train_epoch
from adamantine.train.machine import machine, versions
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.train.schedules import build_schedule
from adamantine.train.seeds import data_order, seed_everything
from adamantine.train.tables import up_to_date
from adamantine.workloads.data.batches import batch_count, batches
from adamantine.workloads.protocol import Batch, Data, Workload


def train(
    workload: Workload,
    model: nn.Module,
    optimizer: Optimizer,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    if_exists: IfExists = "refuse",
    allow_changed_data: bool = False,
    callbacks: Callbacks | None = None,
    options: Mapping[str, Any] | None = None,
    processes: Alone = ALONE,
    trackers: Sequence[str | Tracker] = (),
) -> RunRecord:
    """Train `model` and test it after every epoch.

    The global generators are seeded with ``config.seed``. Call
    :func:`~adamantine.train.seeds.seed_everything` before you build the model as well, so that
    its initial weights are the same each time. Equal arguments, thread count and machine then give
    equal bits, whether or not the run was interrupted and resumed.

    Parameters
    ----------
    workload
        Data, loss and metric; `model` is usually ``workload.model()``.
    model
        Already on the device on which to train it. It is trained in place.
    optimizer
        Any ``torch.optim.Optimizer`` over the model's parameters. The statistics of an optimizer of
        this package with ``collect_stats`` go into the record, as the mean of each epoch.
    config
        The loop's settings; the defaults of :class:`TrainConfig` if None.
    out
        Folder for the record and the checkpoint, see :mod:`adamantine.train.folder`; None
        writes nothing.
    if_exists
        What to do if `out` holds a run: ``"refuse"``, ``"resume"`` it or ``"overwrite"`` it. If
        there is nothing to resume, the run begins. A run can be resumed with a different number of
        epochs if its schedule does not depend on it.
    allow_changed_data
        Resume a run even if the data in memory are not those it began with; otherwise this is an
        error.
    callbacks
        Called during the run.
    options
        Stored in the record unchanged.
    processes
        This one alone, or a :class:`~adamantine.train.processes.group.Group`, whose ``prepared``
        model and an optimizer built for that are then expected.
    trackers
        Told of every epoch: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``, ``"csv"``, or any
        :class:`~adamantine.trackers.Tracker`. A run that goes on gives them what they miss.

    Returns
    -------
    RunRecord
        With status ``finished``. A run that has already finished is returned unchanged, unless
        `config` has more epochs.

    Raises
    ------
    DivergedError
        The loss became NaN or infinite, or an exception was raised after weights, outputs or
        gradients did. The last good checkpoint is kept.
    CheckpointError
        `out` cannot be written, or holds a run that must not be replaced or does not match.
    WorkloadError
        The data, the loss or the metric is not valid for a workload.

    Examples
    --------
    >>> from adamantine import Adam, workloads
    >>> from adamantine.train import TrainConfig, seed_everything, train
    >>> digits = workloads.load("digits")
    >>> seed_everything(0)
    >>> model = digits.model()
    >>> record = train(digits, model, Adam(model.parameters()), TrainConfig(epochs=3))
    >>> len(record.epochs)
    3
    """
    config = config or TrainConfig()
    callbacks = callbacks or Callbacks()
    check_metric_name(workload.metric.name)
    record = RunRecord(
        configuration=describe(workload, model, optimizer, config, processes),
        versions=versions(),
        machine=machine(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        options=dict(options or {}),
    )
    steps = batch_count(workload.train, config.batch_size)
    schedule = build_schedule(config.schedule, optimizer, config.epochs, steps)
    order = data_order(config.seed)
    seed_everything(config.seed)
    state = State(model, optimizer, schedule, [order, *_own_generators(workload)])
    folder = RunFolder(out) if out is not None else None
    told = trackers if processes.is_first else ()
    place = folder.path if folder else None
    check_trackers(told, place)
    if folder:
        record = folder.begin(
            record, state, if_exists, allow_changed_data=allow_changed_data, processes=processes
        )
    with closing(RunTracking(told, place)) as tracking:
        tracking.begin(record)
        if record.status == "finished":
            tracking.end(record)
            return record
        epoch_runner = _EpochRunner(workload, state, config, callbacks, order, steps, processes)
        try:
            with up_to_date(model, optimizer):
                for epoch in range(len(record.epochs) + 1, config.epochs + 1):
                    record = replace(record, epochs=(*record.epochs, epoch_runner.run(epoch)))
                    if folder:
                        folder.save(record, state, processes)
                    tracking.on_epoch_end(record)
                    callbacks.on_epoch_end(record.epochs[-1])
        except BaseException as error:
            record = replace(record, status=_status_after(error))
            if folder and processes.is_first:
                with suppress(CheckpointError):  # a full disk must not hide the first error
                    folder.write_header(record)
            with suppress(AdamantineError):  # nor a tracker that is gone
                tracking.end(record)
            raise
        record = replace(record, status="finished")
        if folder and processes.is_first:
            folder.write_header(record)
        tracking.end(record)
        return record


class _EpochRunner:
    """What is the same for every epoch of a run."""

    def __init__(
        self,
        workload: Workload,
        state: State,
        config: TrainConfig,
        callbacks: Callbacks,
        order: torch.Generator,
        steps: int | None,
        processes: Alone,
    ) -> None:
        self.workload, self.state, self.config = workload, state, config
        self.callbacks, self.order, self.steps = callbacks, order, steps
        self.processes = processes
        self.replica = processes.replica(state.model)
        self.measured = EpochStats(state.optimizer)
        self.device = device_of(state.model)
        self.train_data = placed(workload.train, self.device)
        self.test_data = placed(workload.test, self.device)

    def run(self, epoch: int) -> EpochRecord:
        """Train and test once."""
        self.callbacks.on_epoch_start(epoch, self.steps)
        started = perf_counter()
        average_loss, lr = self._train(epoch)
        trained = perf_counter()
        self.callbacks.on_test()
        test_loss, test_metric = self._test(epoch, lr)
        return EpochRecord(
            epoch=epoch,
            average_loss=average_loss,
            test_loss=test_loss,
            test_metric=test_metric,
            train_seconds=trained - started,
            test_seconds=perf_counter() - trained,
            lr=lr,
            metric=self.workload.metric.name,
            parameters=self.measured.record(),
            processes=self.processes.count,
        )

    def _on_step(self, step: int) -> None:
        self.measured.look()
        self.callbacks.on_step(step)

    def _train(self, epoch: int) -> tuple[float, float]:
        schedule = self.state.schedule
        self.measured.begin()
        result = train_epoch(
            self.replica,
            self.workload.loss,
            self.state.optimizer,
            self._batches(self.train_data, self.config.batch_size, self.order),
            epoch=epoch,
            device=self.device,
            on_step=self._on_step,
            scheduler=schedule.scheduler if schedule and schedule.per == "batch" else None,
            processes=self.processes,
        )
        if schedule and schedule.per == "epoch":
            schedule.scheduler.step()
        return result

    def _test(self, epoch: int, lr: float) -> tuple[float, float]:
        model, workload = self.state.model, self.workload
        data = self._batches(self.test_data, self.config.test_batch_size, None)
        # Until the next epoch: what is saved now is what was tested.
        to_evaluation(self.state.optimizer)
        loss, metric = evaluate(model, workload.loss, workload.metric, data, self.processes)
        if not math.isfinite(loss) and not weights_are_sane(model):
            # The last step broke the weights: without this the checkpoint would be replaced.
            raise diverged(model, None, loss=loss, lr=lr, epoch=epoch, step=self.steps or 0)
        return loss, metric

    def _batches(
        self, data: Data, batch_size: int, order: torch.Generator | None
    ) -> Iterable[Batch]:
        stream = batches(data, batch_size, order)
        return moved(self.processes.share(stream, trains=order is not None), self.device)


def _own_generators(workload: Workload) -> list[torch.Generator]:
    """A ``DataLoader`` may shuffle with a generator of its own."""
    candidates = (getattr(data, "generator", None) for data in (workload.train, workload.test))
    return [candidate for candidate in candidates if isinstance(candidate, torch.Generator)]


def _status_after(error: BaseException) -> Status:
    if isinstance(error, KeyboardInterrupt | ProcessLostError):
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "failed"
