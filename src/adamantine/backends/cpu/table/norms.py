"""The gradients' sum of squares: one read of them, for a whole table.

Summed in float64, where the square of every float32, finite or denormal, has a place: no gradient
overflows or vanishes. (Squares of float64 gradients above 1.3e154 do overflow, as in torch.)
``reassoc`` is allowed here, or LLVM could not add up several lanes at once; a chunk's sum depends
on the chunk alone, and the host adds the sums in order, so that the bits are the same for any
number of threads.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numba import carray
from numpy.typing import NDArray

from adamantine.backends.cpu.compiling.decorators import OPTIONS
from adamantine.backends.cpu.compiling.elements import read
from adamantine.backends.cpu.compiling.memory import arrays_at, float64_pointer
from adamantine.backends.cpu.kernel.arguments import FOUND
from adamantine.backends.cpu.kernel.kernel import (
    Kernel,
    compile_kernel,
    digest,
    name_of,
    specialised,
)
from adamantine.backends.cpu.probe.statuses import GRAD
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.table.reduction import Reduction
from adamantine.backends.formats import Format

REASSOCIATING: dict[str, Any] = {**OPTIONS, "fastmath": {"contract", "reassoc"}}

FORMULA: Any = None  # replaced, as in `kernel`
SAMPLES: Any = None
NOTHING = np.float64(0)


def _total(words, tensor, chunk, offset, length, pointers, own):
    (grad,) = arrays_at(pointers, SAMPLES, offset, length)
    total = NOTHING
    for i in range(length):
        total += FORMULA(np.float64(read(grad, i)))
    carray(float64_pointer(words[FOUND]), chunk + 1)[chunk] = total


def _square(grad):
    return grad * grad


def summing(dtype: torch.dtype, name: str) -> FunctionType:
    """The loop that sums squares of one tensor, under a name of its own; not compiled yet."""
    return specialised(_total, _square, (Format(dtype),), 0, name)


@cache
def compiled_squares(dtype: torch.dtype) -> Kernel:
    """The kernel that leaves the sum of squares of every chunk of `dtype` in ``FOUND``."""
    name = name_of("sum_of_squares", (Format(dtype),), digest(REASSOCIATING, _square))
    return compile_kernel(summing(dtype, name), REASSOCIATING)


class Squares:
    """Sums the squares of a table's gradients.

    Parameters
    ----------
    dtype
        The gradients'.
    probe
        The table's; after each probe, with the addresses and rows of that step.
    chunks
        ``(chunks, 3)``: tensor, offset, length.
    """

    def __init__(self, dtype: torch.dtype, probe: TensorProbe, chunks: NDArray[np.int64]) -> None:
        self._reduction = Reduction(compiled_squares(dtype), [GRAD], probe, chunks)
        self._owners, self._tensors = chunks[:, 0], len(probe.rows)

    def total(self, bounds: NDArray[np.int64], threads: int) -> float:
        """Of all gradients that take part; infinite or NaN where an element is."""
        self._reduction.run(bounds, threads)
        # By Python, which is quicker for a few chunks, and does not warn of what may overflow.
        total: float = sum(self._reduction.found.tolist())
        return total

    def by_tensor(self, bounds: NDArray[np.int64], threads: int) -> NDArray[np.float64]:
        """Of each tensor's gradient; 0 of those that sit the step out."""
        self._reduction.run(bounds, threads)
        sums = np.zeros(self._tensors)
        np.add.at(sums, self._owners, self._reduction.found)
        return sums
