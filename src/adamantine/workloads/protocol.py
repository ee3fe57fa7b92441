"""What a workload is: a model, its data, a loss and a metric.

Your own needs nothing from this package: any object (or module attribute) with the
attributes of :class:`Workload` will do; see ``docs/workloads.md``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Data = Batch | Iterable[Batch]
"""``(inputs, targets)`` in memory, or anything that can be iterated once an epoch for
batches of them, such as a ``DataLoader``."""


@dataclass(frozen=True)
class Metric:
    """How good a model's outputs are, averaged over the test examples.

    Parameters
    ----------
    name
        Its name in tables, plots and JSON (``"accuracy"``).
    per_example
        Maps ``(outputs, targets)`` of a batch to one number per example (or a scalar, taken as the
        batch's mean).
    direction
        ``"max"`` if higher is better, ``"min"`` if lower is.
    """

    name: str
    per_example: Callable[[Tensor, Tensor], Tensor]
    direction: Literal["max", "min"] = "max"


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest output is the target's class, 0 elsewhere; shape ``(batch,)``."""
    return (outputs.argmax(dim=1) == targets).float()


ACCURACY = Metric("accuracy", accuracy, "max")


@dataclass(frozen=True)
class Workload:
    """A learning problem that an optimizer can be tried on.

    Parameters
    ----------
    name
        The name that users type and reports print.
    model
        Builds a fresh, randomly initialised model from torch's global generator.
    train, test
        ``(inputs, targets)`` or a re-iterable of batches; see :data:`Data`.
    loss
        Maps ``(outputs, targets)`` to the mean loss of the batch, a scalar.
    metric
        How results on the test set are judged.
    description
        One line for ``adamantine list``.
    validation
        Data for choosing settings, in the same form as `train` and `test` and without any of their
        examples; see :func:`~adamantine.workloads.for_tuning`. Training alone does not read it.
    """

    name: str
    model: Callable[[], nn.Module]
    train: Data
    test: Data
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Metric = ACCURACY
    description: str = ""
    validation: Data | None = None
