"""How an epoch walks over data: index selects from tensors, or a loader's own batches."""

from collections.abc import Iterable, Iterator, Sized
from itertools import pairwise
from typing import TypeGuard, cast

import torch
from torch import Tensor

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads.protocol import Batch, Data


def in_memory(data: object) -> TypeGuard[Batch]:
    """Whether data is ``(inputs, targets)`` as two tensors, which `batch_size` cuts up.

    Anything else is a re-iterable with its own batch size and order. If the user has asked for a
    batch size, the caller must say that it has no effect.
    """
    return (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and all(isinstance(part, Tensor) for part in data)
    )


def batches(
    data: Data, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """One epoch's batches.

    Parameters
    ----------
    data
        Two tensors or a re-iterable of batches. A re-iterable keeps its own batch size and order,
        whatever is asked for here (see :func:`in_memory`). If it shuffles, it draws from its own
        generator, a ``DataLoader`` from torch's global one.
    batch_size
        Examples per batch, at least 1. The last batch holds what is left over. A single leftover
        example, on which batch norm cannot train, joins the batch before it.
    generator
        Shuffles tensors, with one permutation per epoch; None keeps their order.

    Raises
    ------
    UsageError
        If `batch_size` is less than 1.
    WorkloadError
        If a batch is not two tensors of equal length, or a re-iterable gives no batch.

    Examples
    --------
    >>> data = torch.arange(5), torch.arange(5)
    >>> [inputs.tolist() for inputs, _ in batches(data, 2)]
    [[0, 1], [2, 3, 4]]
    """
    _check_batch_size(batch_size)
    if not in_memory(data):
        return _from_iterable(cast(Iterable[Batch], data))
    check_batch(data, "the data")
    if generator is None:
        return _in_order(data, batch_size)
    return _shuffled(data, batch_size, generator)


def batch_count(data: Data, batch_size: int) -> int | None:
    """How many batches an epoch has, or None for a re-iterable that does not know."""
    _check_batch_size(batch_size)
    if in_memory(data):
        return len(_cuts(len(data[0]), batch_size))
    if not isinstance(data, Sized):
        return None
    try:
        return len(data)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that raises
        return None


def check_batch(batch: object, source: str) -> None:
    """Raise a WorkloadError unless `batch` is two tensors of equal, positive length."""
    if not in_memory(batch):
        raise WorkloadError(
            f"{source}: got {describe(batch)}, expected two tensors (inputs, targets)"
        )
    inputs, targets = batch
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets) or not len(inputs):
        raise WorkloadError(
            f"{source}: inputs of shape {tuple(inputs.shape)} and targets of shape"
            f" {tuple(targets.shape)}, expected the same number of examples, at least one,"
            " in their first dimension"
        )


def describe(value: object) -> str:
    """What a value is, for error messages: its type, and the types it holds."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    kind = type(value).__name__
    if isinstance(value, (tuple, list)):
        return f"a {kind} of ({', '.join(type(part).__name__ for part in value)})"
    return f"an object of type {kind}"


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: expected 1 or more")


def _cuts(count: int, batch_size: int) -> list[slice]:
    """Where an epoch is cut: into batches of one example only where that is asked for."""
    starts = list(range(0, count, batch_size))
    if count > batch_size > 1 and count % batch_size == 1:
        starts.pop()
    return [slice(*ends) for ends in pairwise([*starts, count])]


def _in_order(data: Batch, batch_size: int) -> Iterator[Batch]:
    inputs, targets = data
    for cut in _cuts(len(inputs), batch_size):
        yield inputs[cut], targets[cut]


def _shuffled(data: Batch, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    inputs, targets = data
    order = torch.randperm(len(inputs), generator=generator, device=generator.device)
    order = order.to(inputs.device)
    for cut in _cuts(len(inputs), batch_size):
        chosen = order[cut]
        yield inputs.index_select(0, chosen), targets.index_select(0, chosen)


def _from_iterable(data: Iterable[Batch]) -> Iterator[Batch]:
    empty = True
    for batch in data:
        check_batch(batch, "a batch of the data")
        inputs, targets = batch
        yield inputs, targets
        empty = False
    if empty:
        raise WorkloadError(
            f"the data ({describe(data)}) gave no batch; expected at least one, anew for every"
            " epoch: an iterator that was read once is empty"
        )
