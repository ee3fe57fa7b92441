"""What the training loop asks of the processes of its run, answered for one process alone."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.workloads.protocol import Batch

R = TypeVar("R")


class Alone:
    """One process: every answer is what was handed in, so nothing is slower or rounded otherwise.

    :class:`~adamantine.train.processes.group.Group` answers for several. All of them call the same
    methods in the same order, since each may wait for the others.
    """

    count = 1
    is_first = True

    @property
    def description(self) -> dict[str, Any]:
        """What a run's configuration says of its processes."""
        return {}

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model as an optimizer is to be built for it."""
        return model

    def replica(self, model: nn.Module) -> nn.Module:
        """What is called for training: its gradients are those of the whole batch."""
        return model

    def share(self, stream: Iterable[Batch], *, trains: bool) -> Iterable[Batch]:  # noqa: ARG002
        """Of every batch, what is this process's; `trains` says that the model may draw numbers."""
        return stream

    def weighted(self, loss: Tensor) -> Tensor:
        """The mean loss of a part of a batch, such that :meth:`mean` is the batch's."""
        return loss

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        return values

    def total(self, values: Sequence[float]) -> Sequence[float]:
        """The sums over processes."""
        return values

    def first(self, function: Callable[[], R]) -> R:
        """What `function` returns to the first process, which alone calls it."""
        return function()

    def one_by_one(self) -> AbstractContextManager[object]:
        """While it lasts, one process of this machine is ahead of all others."""
        return nullcontext()

    def whole(self, states: R) -> R:
        """Dictionaries of tensors without their division, for the first process."""
        return states

    def parts_of_model(self, saved: dict[str, Any], model: nn.Module) -> dict[str, Any]:  # noqa: ARG002
        """What of a whole model's state belongs here."""
        return saved

    def parts_of_optimizer(self, saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:  # noqa: ARG002
        """What of a whole optimizer's state belongs here."""
        return saved

    def raise_if_lost(self, error: Exception) -> None:
        """Raise :class:`ProcessLostError` where `error` comes from the end of another process."""


ALONE = Alone()
