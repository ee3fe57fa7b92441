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
    return torch.empty(words, dtype=torch.int64, device="cpu", pin_memory=device.type != "cpu")


def is_capturing(device: torch.device) -> bool:
    """Whether what is begun on the device is recorded in a graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


_READ_BY_GRAPHS: list[Any] = []
"""Kept for good: nobody tells when a graph will not be replayed any more."""


def keep_for_graph(device: torch.device, *tensors: Any) -> None:
    """Where a graph is recorded, keep what its replays are going to read and write."""
    if is_capturing(device):
        _READ_BY_GRAPHS.append(tensors)


def number_on(device: torch.device, number: Tensor) -> Tensor:
    """A tensor of one element on a device, in float64; nobody waits.

    It is converted there. Here, torch would make a temporary tensor, from whose memory a graph
    would copy in each replay.
    """
    number = number.detach().reshape(())
    keep_for_graph(device, number)
    return number.to(device, non_blocking=True).to(torch.float64)


def working_on(device: torch.device) -> AbstractContextManager[Any]:
    """A block whose launches go to `device`, and to its current stream."""
    return nullcontext() if device.type == "cpu" else _module(device).device(device)


def current(device: torch.device) -> Any:
    """The stream that launches go to; None where there are none."""
    return None if device.type == "cpu" else _module(device).current_stream(device)


def keep(tensors: Iterable[Tensor], device: torch.device, made_on: Any = None) -> None:
    """Let nobody reuse the memory of tensors before what is begun on the current stream is done.

    On another stream than that which they were `made_on`, by default the default one: there torch
    does not know that it reads them.
    """
    if device.type == "cpu" or is_capturing(device):
        return
    stream = current(device)
    if made_on is None and device.type == "cuda":
        made_on = torch.cuda.default_stream(device)
    if stream != made_on:
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
    device
        Where they come from.
    """

    def __init__(self, host: Tensor, event: Any, device: torch.device) -> None:
        self._host, self._event, self._device = host, event, device

    @classmethod
    def of(cls, numbers: Tensor) -> Readback | None:
        """Send for numbers as they are after all that was begun; None while a graph is recorded."""
        device = numbers.device
        if is_capturing(device):
            return None
        if device.type == "cpu":
            return cls(numbers.clone(), None, device)
        host = torch.empty_like(numbers, device="cpu", pin_memory=True)
        host.copy_(numbers, non_blocking=True)
        event = _module(device).Event()
        event.record(current(device))
        return cls(host, event, device)

    def arrived(self) -> Tensor | None:
        """The numbers, or None where they are still on their way."""
        if self._event is None:
            return self._host
        # CUDA allows no question while a graph is recorded.
        return self._host if not is_capturing(self._device) and self._event.query() else None

    def wait(self) -> Tensor:
        """The numbers, when they have come."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
