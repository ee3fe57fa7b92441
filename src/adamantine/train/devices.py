"""Data to where the model is."""

from collections.abc import Iterable, Iterator

import torch

from adamantine.workloads.data.batches import in_memory
from adamantine.workloads.protocol import Batch, Data


def placed(data: Data, device: torch.device) -> Data:
    """Data in memory is moved to the device once, not batch by batch."""
    return (data[0].to(device), data[1].to(device)) if in_memory(data) else data


def moved(stream: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches on the device, as they come."""
    for inputs, targets in stream:
        yield inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
