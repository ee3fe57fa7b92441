"""A pass over tensors that only reads, and leaves some numbers for each chunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamantine.backends.cpu.kernel.arguments import (
    ADDRESSES,
    BOUNDS,
    CHUNKS,
    COLUMNS,
    FOUND,
    ROWS,
    STEP_SCALARS,
    KernelArguments,
)
from adamantine.backends.cpu.kernel.kernel import Kernel
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.threads import parallel


class Reduction:
    """A kernel that looks at some of the tensors of a table.

    Each chunk's numbers are words of their own, so what :attr:`found` holds is the same for any
    number of threads.

    Parameters
    ----------
    kernel
        Leaves its numbers of a chunk in the job's ``FOUND``.
    columns
        Which tensors it takes, by their columns in the probe's addresses.
    probe
        The table's; after each probe, with the addresses and rows of that step.
    chunks
        ``(chunks, 3)``: tensor, offset, length.
    numbers
        The shape of what it leaves for each chunk.
    found
        Where it leaves that, if not there.

    Attributes
    ----------
    found
        Float64 ``(chunks, *numbers)``, after each :meth:`run`; 0 for chunks of tensors that sit
        the step out.
    """

    def __init__(
        self,
        kernel: Kernel,
        columns: Sequence[int],
        probe: TensorProbe,
        chunks: NDArray[np.int64],
        numbers: tuple[int, ...] = (),
        found: NDArray[np.float64] | None = None,
    ) -> None:
        self._kernel, self._columns, self._probe = kernel, list(columns), probe
        self.found = np.zeros((len(chunks), *numbers)) if found is None else found
        self._arguments = KernelArguments()
        self._arguments[COLUMNS] = len(self._columns)
        self._arguments.point(CHUNKS, chunks)
        self._arguments.point(ROWS, probe.rows)
        self._arguments.point(FOUND, self.found)

    def point(self, word: int, array: NDArray[np.int64]) -> None:
        """Let the kernel find `array`, under one of the words that it reads."""
        self._arguments.point(word, array)

    def run(
        self,
        bounds: NDArray[np.int64],
        threads: int,
        step_scalars: NDArray[np.float64] | None = None,
    ) -> None:
        """Look, with a row of `step_scalars` for each of the probe's rows, if it takes any."""
        addresses = np.ascontiguousarray(self._probe.addresses[:, self._columns])
        self._arguments.point(ADDRESSES, addresses)
        if step_scalars is not None:
            self._arguments.point(STEP_SCALARS, np.ascontiguousarray(step_scalars))
        self._arguments.point(BOUNDS, bounds)
        self.found.fill(0)
        parallel.run(self._kernel.address, self._arguments.address, len(bounds) - 1, threads)
