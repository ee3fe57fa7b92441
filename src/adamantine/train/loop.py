"""One epoch of training, and a test."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from adamantine.errors import WorkloadError
from adamantine.train.diagnosis import diverged, is_divergence
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.workloads.protocol import Batch, Metric

Loss = Callable[[Tensor, Tensor], Tensor]
# Reading a number from a GPU makes the host wait for it, so losses are read many at a time there.
GPU_WINDOW = 64


class LossReader:
    """Reads each step's loss off the device, once, and stops where one is not finite.

    Parameters
    ----------
    device
        Of the losses. On the CPU a loss is read at once, elsewhere in windows of 64.
    processes
        Whose mean a loss is.
    """

    def __init__(self, device: torch.device, processes: Alone = ALONE) -> None:
        self._processes = processes
        self._window = 1 if device.type == "cpu" else GPU_WINDOW
        self._pending: list[Tensor] = []
        self._total = 0.0
        self.count = 0

    def add(self, loss: Tensor) -> float | None:
        """Take the next step's loss; return the first one that is not finite, None if all are.

        :attr:`count` is then the number of that step.
        """
        self._pending.append(loss.detach())
        return self.read() if len(self._pending) >= self._window else None

    def read(self, *, here: bool = False) -> float | None:
        """Read what is pending; returns as :meth:`add` does.

        Parameters
        ----------
        here
            Of this process alone, which has failed in a step that others may not have come to.
        """
        pending, self._pending = self._pending, []
        mean = ALONE.mean if here else self._processes.mean
        if len(pending) == 1:
            values = [mean(pending[0]).item()]
        else:
            values = mean(torch.stack(pending)).tolist() if pending else []
        for value in values:
            self.count += 1
            if not math.isfinite(value):
                return float(value)
            self._total += value
        return None

    @property
    def mean(self) -> float:
        """Of all losses read."""
        return self._total / self.count


def to_training(optimizer: Optimizer) -> None:
    """Let an optimizer with modes of its own (schedule-free ones) go into that for training."""
    _change_mode(optimizer, "train")


def to_evaluation(optimizer: Optimizer) -> None:
    """Likewise into that for evaluation, until :func:`to_training`."""
    _change_mode(optimizer, "eval")


def _change_mode(optimizer: Optimizer, mode: str) -> None:
    if all(callable(getattr(optimizer, name, None)) for name in ("train", "eval")):
        getattr(optimizer, mode)()


def train_epoch(
    model: nn.Module,
    loss_of: Loss,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    *,
    epoch: int,
    device: torch.device,
    on_step: Callable[[int], None],
    scheduler: LRScheduler | None = None,
    processes: Alone = ALONE,
) -> tuple[float, float]:
    """Train on every batch once.

    Parameters
    ----------
    scheduler
        Moved after every batch; None leaves the learning rate to the caller.
    processes
        That each have a part of every batch.

    Returns
    -------
    average_loss, lr
        The mean of the batches' losses, and the learning rate of the last step.

    Raises
    ------
    DivergedError
        A loss is NaN or infinite, or something raised an exception where weights, outputs or
        gradients were. On the CPU the step is not taken.
    WorkloadError
        There are no batches, or the loss is no scalar.
    """
    model.train()
    to_training(optimizer)
    losses = LossReader(device, processes)
    lr = _learning_rate(optimizer)
    for step, (inputs, targets) in enumerate(batches, 1):
        outputs = None
        try:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = processes.weighted(loss_of(outputs, targets))
            if step == 1:
                _check_scalar(loss)
            if (bad := losses.add(loss)) is not None:
                seen = inputs if losses.count == step and device.type == "cpu" else None
                raise diverged(model, seen, loss=bad, lr=lr, epoch=epoch, step=losses.count)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        except Exception as error:
            processes.raise_if_lost(error)
            if not is_divergence(error, model, outputs):
                raise
            bad = losses.read(here=True)
            lost, at = (math.nan, step) if bad is None else (bad, losses.count)
            raise diverged(model, inputs, loss=lost, lr=lr, epoch=epoch, step=at) from error
        if scheduler is not None:
            lr = _learning_rate(optimizer)
            scheduler.step()
        on_step(step)
    if (bad := losses.read()) is not None:
        raise diverged(model, None, loss=bad, lr=lr, epoch=epoch, step=losses.count)
    if not losses.count:
        raise WorkloadError(
            "the training data gave no batches; a generator is spent after one epoch: give "
            "tensors, or something that can be iterated again, such as a DataLoader"
        )
    return losses.mean, lr


def evaluate(
    model: nn.Module,
    loss_of: Loss,
    metric: Metric,
    batches: Iterable[Batch],
    processes: Alone = ALONE,
) -> tuple[float, float]:
    """The mean loss and the mean metric over the examples of `batches`, those of all processes.

    Both are NaN where the model's numbers have exploded and something raised an exception for it.

    Raises
    ------
    WorkloadError
        There are no batches, or the metric gives neither a scalar nor one number an example.
    """
    model.eval()
    counts: list[int] = []
    losses: list[Tensor] = []
    scores: list[Tensor] = []
    with torch.no_grad():
        for inputs, targets in batches:
            outputs = None
            try:
                outputs = model(inputs)
                counts.append(len(targets))
                losses.append(loss_of(outputs, targets))
                scores.append(_total_score(metric, outputs, targets))
            except Exception as error:
                processes.raise_if_lost(error)
                if not is_divergence(error, model, outputs):
                    raise
                processes.total((math.nan, math.nan, 1))
                return math.nan, math.nan  # as a loss that lets them pass
    if not counts:
        raise WorkloadError(
            "the test data gave no batches; a generator is spent after one epoch: give "
            "tensors, or something that can be iterated again, such as a DataLoader"
        )
    loss, score, count = processes.total(
        (_weighted_sum(losses, counts), sum(torch.stack(scores).tolist()), sum(counts))
    )
    return loss / count, score / count


def _total_score(metric: Metric, outputs: Tensor, targets: Tensor) -> Tensor:
    score = metric.per_example(outputs, targets)
    if score.dim() and score.shape != targets.shape[:1]:
        raise WorkloadError(
            f"the metric {metric.name!r} gave a tensor of shape {tuple(score.shape)} for a batch "
            f"of {len(targets)}, expected ({len(targets)},) or a scalar: return one number for "
            "each example, such as a mean over the other dimensions, or the batch's mean"
        )
    # A sum, because a count of hits is exact where their mean would be rounded.
    return score.sum() if score.dim() else score * len(targets)


def _weighted_sum(values: list[Tensor], weights: list[int]) -> float:
    numbers = torch.stack(values).tolist()
    return float(sum(value * weight for value, weight in zip(numbers, weights, strict=True)))


def _check_scalar(loss: Tensor) -> None:
    if loss.dim():
        raise WorkloadError(
            f"the loss is a tensor of shape {tuple(loss.shape)}, expected a scalar: return the "
            "mean over the batch"
        )


def _learning_rate(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])
