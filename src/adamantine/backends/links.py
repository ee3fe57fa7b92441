"""The ways between an accelerator's memory and main memory.

What is behind a :class:`Link` is all that an offloaded optimizer knows of a device, so that all but
its speed can be tested with two pieces of main memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

Tensors = Sequence[Tensor]
Wait = Callable[[], None]
"""Returns when what was begun is done."""


class Link(Protocol):
    """Copies between one device and main memory, begun now and waited for later.

    Those in one direction are done in the order in which they were begun.
    """

    def host_like(self, tensor: Tensor) -> Tensor:
        """Main memory for the elements of `tensor`, laid out as they are; holds anything yet."""
        ...

    def fetch(self, sources: Tensors, targets: Tensors) -> Wait:
        """Begin to copy from the device, after all that was begun there."""
        ...

    def send(self, sources: Tensors, targets: Tensors) -> Wait:
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

    def fetch(self, sources: Tensors, targets: Tensors) -> Wait:
        """As :class:`Link` says."""
        torch._foreach_copy_(list(targets), list(sources))
        return _done

    def send(self, sources: Tensors, targets: Tensors) -> Wait:
        """As :class:`Link` says."""
        torch._foreach_copy_(list(targets), list(sources))
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

    def fetch(self, sources: Tensors, targets: Tensors) -> Wait:
        """As :class:`Link` says."""
        # The caller may free gradients as soon as it likes.
        for source in sources:
            source.record_stream(self._fetching)
        return self._copy(sources, targets, self._fetching)

    def send(self, sources: Tensors, targets: Tensors) -> Wait:
        """As :class:`Link` says."""
        return self._copy(sources, targets, self._sending)

    def _copy(self, sources: Tensors, targets: Tensors, stream: Any) -> Wait:
        stream.wait_stream(self._device.current_stream(self._place))
        with self._device.stream(stream):
            torch._foreach_copy_(list(targets), list(sources), non_blocking=True)
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
