"""Validation data, for choosing settings without a look at the test set."""

from dataclasses import replace

import torch

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads.data.batches import check_batch, in_memory
from adamantine.workloads.protocol import Batch, Workload


def for_tuning(workload: Workload, fraction: float = 0.1, seed: int = 0) -> Workload:
    """The workload with its validation data in the place of its test set, which is not in it.

    The validation data are the workload's own, if it has any. Otherwise a share of its training
    data is held out for validation, and training uses the rest.

    Parameters
    ----------
    workload
        It is not changed.
    fraction
        The share of the training data to hold out, in (0, 1).
    seed
        Determines which examples these are; see :func:`hold_out`.

    Raises
    ------
    WorkloadError
        If the workload has no validation data, and its training data cannot be split because
        they come in batches of their own or are a single example.
    UsageError
        If `fraction` is out of its range.

    Examples
    --------
    >>> from adamantine.workloads import load
    >>> digits = for_tuning(load("digits"))
    >>> len(digits.train[0]), len(digits.test[0])
    (1293, 144)
    """
    if workload.validation is not None:
        return replace(workload, test=workload.validation, validation=None)
    if not in_memory(workload.train):
        raise WorkloadError(
            f"workload {workload.name} has no validation data, and its training data come in"
            " batches of their own, which cannot be split; give the workload `validation`"
        )
    train, validation = hold_out(workload.train, fraction, seed)
    return replace(workload, train=train, test=validation)


def hold_out(data: Batch, fraction: float = 0.1, seed: int = 0) -> tuple[Batch, Batch]:
    """Split data in memory at random; the same split for the same seed and number of examples.

    Parameters
    ----------
    data
        Two tensors of equal length, at least 2.
    fraction
        The share to hold out, in (0, 1), rounded to whole examples; at least one example, and
        not all of them.
    seed
        Seed of the choice; no other generator is used.

    Returns
    -------
    rest, held_out
        Each in the order it had in `data`.

    Raises
    ------
    UsageError
        If `fraction` is out of its range.
    WorkloadError
        If `data` is not two tensors of equal length, or a single example.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction is {fraction}, expected a share between 0 and 1")
    check_batch(data, "the data to split")
    inputs, targets = data
    count = len(inputs)
    if count < 2:
        raise WorkloadError("the data to split is a single example, expected at least two")
    held_out = min(max(round(fraction * count), 1), count - 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    chosen, rest = order[:held_out].sort().values, order[held_out:].sort().values

    def of(indices: torch.Tensor) -> Batch:
        return (
            inputs.index_select(0, indices.to(inputs.device)),
            targets.index_select(0, indices.to(targets.device)),
        )

    return of(rest), of(chosen)
