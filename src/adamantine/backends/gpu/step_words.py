"""What the host tells kernels of a step, in one asynchronous copy."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.gpu import streams

Array = NDArray[Any]

_ALIGNED = 2  # words: Triton compiles kernels anew for addresses that are no multiples of 16 bytes


class StepWords:
    """Arrays of 64-bit words on a device, and what the host has last written to them.

    They lie one after the other, those that change in every step last. What is sent begins with the
    first array that differs from what is there: nothing at all, where none does.

    A copy into memory that a CUDA graph reads would change what its replay does, so a step that is
    being captured gets arrays of its own, filled by a copy that the graph repeats.

    Parameters
    ----------
    arrays
        Of 8 bytes an element: the shapes and dtypes of what will be sent.
    device
        The kernels'.
    """

    def __init__(self, arrays: Sequence[Array], device: torch.device) -> None:
        self._shapes = [array.shape for array in arrays]
        self._dtypes = [torch.from_numpy(array).dtype for array in arrays]
        self._device = device
        sizes = [-(-prod(shape) // _ALIGNED) * _ALIGNED for shape in self._shapes]
        self._starts = [0, *np.cumsum(sizes, dtype=int).tolist()]
        self._sent: list[Array | None] = [None] * len(arrays)
        self._words = torch.empty(self._starts[-1], dtype=torch.int64, device=device)
        self._on_device = self._cut(self._words)
        self._spare: Tensor | None = None

    def _cut(self, words: Tensor) -> list[Tensor]:
        return [
            words[start : start + prod(shape)].view(dtype).view(shape)
            for start, shape, dtype in zip(self._starts, self._shapes, self._dtypes, strict=False)
        ]

    def send(self, arrays: Sequence[Array]) -> list[Tensor]:
        """Have `arrays` on the device, after all that was begun there; returns them there.

        Nobody waits.
        """
        if streams.is_capturing(self._device):
            return self._send_captured(arrays)
        if self._spare is None:  # while a graph is captured, none can be had
            self._spare = streams.pinned(self._starts[-1], self._device)
        first = next(
            (
                i
                for i, (now, sent) in enumerate(zip(arrays, self._sent, strict=True))
                if sent is None or not np.array_equal(now, sent)
            ),
            None,
        )
        if first is not None:
            begin = self._starts[first]
            # From torch's cache of pinned memory, which waits for copies before it reuses some.
            host = streams.pinned(self._starts[-1] - begin, self._device)
            self._write(host, arrays, first)
            self._words[begin:].copy_(host, non_blocking=True)
            self._sent[first:] = [array.copy() for array in arrays[first:]]
        return self._on_device

    def _send_captured(self, arrays: Sequence[Array]) -> list[Tensor]:
        host, self._spare = self._spare, None
        words = torch.empty(self._starts[-1], dtype=torch.int64, device=self._device)
        if host is None:  # two captures with no step in between; a replay is slower with these
            host = torch.empty(words.shape, dtype=torch.int64, device="cpu")
        self._write(host, arrays, 0)
        words.copy_(host, non_blocking=True)
        streams.keep_for_graph(self._device, host, words)
        return self._cut(words)

    def _write(self, host: Tensor, arrays: Sequence[Array], first: int) -> None:
        memory = host.numpy()
        for start, array in zip(self._starts[first:], arrays[first:], strict=False):
            at = start - self._starts[first]
            memory[at : at + array.size] = array.view(np.int64).ravel()
