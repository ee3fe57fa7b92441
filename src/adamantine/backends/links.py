"""The ways between an accelerator's memory and main memory.

What is behind a :class:`Link` is all that an offloaded optimizer knows of a device, so that all but
its speed can be tested with two pieces of main memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

Wait = Callable[[], None]
"""Returns when what was begun is done."""


class Link(Protocol):
    """Copies between one device and main memory, begun now and waited for later."""

    def host_like(self, tensor: Tensor) -> Tensor:
        """Main memory for the elements of `tensor`, laid out as they are; holds anything yet."""
        ...

    def fetch(self, source: Tensor, target: Tensor) -> Wait:
        """Begin to copy from the device, after all that was begun there."""
        ...

    def send(self, source: Tensor, target: Tensor) -> Wait:
        """Begin to copy to the device, after all that was begun there."""
        ...

    def finish(self) -> None:
        """Let whatever is begun on the device from now on come after all that was sent."""
        ...


def _done() -> None:
    """Nothing to wait for."""


class Blocking:
    """For devices whose copies cannot be begun and waited for apart."""

    def host_like(self, tensor: Tensor) -> Tensor:
        """As :class:`Link` says."""
        return torch.empty_like(tensor, device="cpu", requires_grad=False)

    def fetch(self, source: Tensor, target: Tensor) -> Wait:
        """As :class:`Link` says."""
        target.copy_(source)
        return _done

    def send(self, source: Tensor, target: Tensor) -> Wait:
        """As :class:`Link` says."""
        target.copy_(source)
        return _done

    def finish(self) -> None:
        """As :class:`Link` says."""


class Streams:
    """For CUDA, ROCm and XPU: a stream for each direction, and pinned memory.

    Copies run beside the computation. Host memory has to be pinned, or they would not.
    """

    def __init__(self, device: torch.device) -> None:
        self._device: Any = torch.get_device_module(device)
        self._place = device
        self._fetching, self._sending = (self._device.Stream(device) for _ in range(2))

    def host_like(self, tensor: Tensor) -> Tensor:
        """As :class:`Link` says."""
        return torch.empty_like(tensor, device="cpu", pin_memory=True, requires_grad=False)

    def fetch(self, source: Tensor, target: Tensor) -> Wait:
        """As :class:`Link` says."""
        # The caller may free the gradient as soon as it likes.
        source.record_stream(self._fetching)
        return self._copy(source, target, self._fetching)

    def send(self, source: Tensor, target: Tensor) -> Wait:
        """As :class:`Link` says."""
        return self._copy(source, target, self._sending)

    def _copy(self, source: Tensor, target: Tensor, stream: Any) -> Wait:
        stream.wait_stream(self._device.current_stream(self._place))
        with self._device.stream(stream):
            target.copy_(source, non_blocking=True)
            event = stream.record_event()
        wait: Wait = event.synchronize
        return wait

    def finish(self) -> None:
        """As :class:`Link` says."""
        self._device.current_stream(self._place).wait_stream(self._sending)


@cache
def link_of(device: torch.device) -> Link | None:
    """The way to a device; None for main memory itself, from which nothing has to be fetched."""
    if device.type == "cpu":
        return None
    return Streams(device) if device.type in ("cuda", "xpu") else Blocking()
