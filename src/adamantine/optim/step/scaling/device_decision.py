"""Decisions over steps that a device makes, and that the host never waits for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adamantine.backends.gpu.streams import Readback, keep_for_graph, number_on


class DeviceDecision:
    """Norm, clipping and skipping in float64 on one device, by torch's operations.

    All of it may be captured in a CUDA graph: what is kept from step to step is written in place.

    Parameters
    ----------
    device
        Where.
    skipped, in_a_row
        Steps that were left out so far: all, and since the last one that was not.

    Attributes
    ----------
    norm
        Of the last step's gradients, unscaled and before clipping; None where nobody asked.
    unscale, coefficient
        Factors of a ``GradScaler``, and of clipping; tensors, or 1.
    unscale_if_done
        The first, or 1 where the step was left out.
    """

    def __init__(self, device: torch.device, skipped: int, in_a_row: int) -> None:
        self.device = device
        self._counts = torch.tensor([skipped, in_a_row], dtype=torch.float64, device=device)
        self._one = torch.ones((), dtype=torch.float64, device=device)
        self._readback: Readback | None = None
        self.norm: Tensor | None = None
        self.unscale: float | Tensor = 1.0
        self.coefficient: float | Tensor = 1.0
        self.unscale_if_done: float | Tensor = 1.0

    def decide(
        self,
        scale: Tensor | None,
        found_inf: Tensor | None,
        squares: Tensor | None,
        clip: tuple[float | Tensor, float] | None,
        skips: bool,
    ) -> Tensor:
        """What kernels read: a factor, and 0 where the step is left out.

        Parameters
        ----------
        scale, found_inf
            Of a ``GradScaler``.
        squares
            The sum of the squares of the gradients, as they are; None where nobody asks.
        clip
            The largest norm, and what is added to the norm before it is divided by it.
        skips
            Whether a norm that is not finite leaves the step out.

        Returns
        -------
        Tensor
            Float64 ``(2,)``.
        """
        keep_for_graph(self.device, self._counts, self._one)
        factor = self.unscale = 1.0 if scale is None else 1 / number_on(self.device, scale)
        self.norm, self.coefficient = None, 1.0
        bad = None if found_inf is None else number_on(self.device, found_inf) != 0
        if squares is not None:
            norm = squares.sqrt() * factor
            if clip is not None:
                largest = clip[0]
                if isinstance(largest, Tensor):
                    largest = number_on(self.device, largest)
                self.coefficient = (largest / (norm + clip[1])).clamp(max=1)  # NaN where norm is
                factor = factor * self.coefficient
            self.norm = norm if bad is None else norm.masked_fill(bad, math.inf)
            if skips:
                infinite = ~norm.isfinite()
                bad = infinite if bad is None else bad | infinite
        factor = self._one * factor
        if bad is None:
            return torch.stack([factor, self._one])
        self.unscale_if_done = torch.where(bad, self._one, self._one * self.unscale)
        self._count(bad)
        return torch.stack([factor, (~bad).double()])

    def _count(self, bad: Tensor) -> None:
        # Left out: both one more. Done: the second begins anew.
        self._counts[1].mul_(bad)
        self._counts.add_(bad)

    def counts(self) -> tuple[int, int]:
        """Steps that were left out, all and in a row; the host waits for them."""
        skipped, in_a_row = self._counts.tolist()
        return int(skipped), int(in_a_row)

    def newly_seen_in_a_row(self) -> int:
        """The second, each time it has come by itself, and 0 meanwhile; nobody waits."""
        if self._readback is None:
            self._readback = Readback.of(self._counts)
        found = None if self._readback is None else self._readback.arrived()
        if found is None:
            return 0
        self._readback = None
        return int(found[1])
