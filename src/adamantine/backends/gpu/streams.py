"""What a step asks of a device: its streams, pinned memory, and whether a graph is recorded.

Main memory, on which Triton's interpreter works, has none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def _module(device: torch.device) -> Any:
    return torch.get_device_module(device)


def pinned(words: int, device: torch.device) -> Tensor:
    """Main memory from which words can be copied to `device` while the host goes on."""
    return torch.empty(words, dtype=torch.int64, pin_memory=device.type != "cpu")


def is_capturing(device: torch.device) -> bool:
    """Whether what is begun on the device is recorded in a graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def working_on(device: torch.device) -> AbstractContextManager[Any]:
    """A block whose launches go to `device`, and to its current stream."""
    return nullcontext() if device.type == "cpu" else _module(device).device(device)


def keep(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Let nobody reuse the memory of tensors before what is begun on the current stream is done.

    On a stream that is not the default one: there torch does not know that it reads them.
    """
    if device.type == "cpu" or is_capturing(device):
        return
    module = _module(device)
    stream = module.current_stream(device)
    if device.type == "cuda" and stream == torch.cuda.default_stream(device):
        return
    for tensor in tensors:
        tensor.record_stream(stream)


@cache
def processors(device: torch.device) -> int:
    """How many programs a device runs at once, on separate processors."""
    if device.type == "cpu":
        return 1
    properties = _module(device).get_device_properties(device)
    count: int = getattr(properties, "multi_processor_count", 0)
    return count or int(getattr(properties, "max_compute_units", 64))


class Readback:
    """Numbers on their way from a device to main memory.

    Parameters
    ----------
    host
        Where they will be.
    event
        Has happened when they are; None where they are there.
    """

    def __init__(self, host: Tensor, event: Any) -> None:
        self._host, self._event = host, event

    @classmethod
    def of(cls, numbers: Tensor) -> Readback | None:
        """Send for numbers as they are after all that was begun; None while a graph is recorded."""
        device = numbers.device
        if is_capturing(device):
            return None
        if device.type == "cpu":
            return cls(numbers.clone(), None)
        host = torch.empty_like(numbers, device="cpu", pin_memory=True)
        host.copy_(numbers, non_blocking=True)
        event = _module(device).Event()
        event.record(_module(device).current_stream(device))
        return cls(host, event)

    def arrived(self) -> Tensor | None:
        """The numbers, or None where they are still on their way."""
        return self._host if self._event is None or self._event.query() else None

    def wait(self) -> Tensor:
        """The numbers, when they have come."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
