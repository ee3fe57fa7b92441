"""By how much an update's gradients are scaled, and whether it happens at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from adamantine.errors import NonFiniteError
from adamantine.optim.step.scaling.device_decision import DeviceDecision
from adamantine.optim.step.scaling.gradients import Gradients, held, multiply, nonfinite
from adamantine.optim.usage.labels import several
from adamantine.optim.usage.options import StepOptions

SMALL = 1e-6
"""What ``torch.nn.utils.clip_grad_norm_`` adds to the norm before it divides by it."""

Number = float | Tensor


class GradientScaling:
    """What is decided before each update, from the gradients and from a ``GradScaler``.

    Where all of the step happens on a device, that decides, and the host reads what it has found
    when somebody asks (:class:`.DeviceDecision`).

    Parameters
    ----------
    options
        The optimizer's options.

    Attributes
    ----------
    reads
        Whether the gradients' norm is asked for.
    unscale, coefficient
        The last step's factors: of a ``GradScaler``, and of clipping. Tensors, where a device has
        decided.
    """

    def __init__(self, options: StepOptions) -> None:
        self._max_norm, self._limit = options.max_grad_norm, options.skip_nonfinite
        self.reads = self._max_norm is not None or self._limit > 0
        self._norm: Number | None = None
        self._skipped = self._in_a_row = 0
        self.unscale: Number = 1.0
        self.coefficient: Number = 1.0
        self._there: DeviceDecision | None = None

    @property
    def norm(self) -> float | None:
        """The last step's, unscaled and before clipping; None where it was not asked for."""
        return None if self._norm is None else float(self._norm)

    @norm.setter
    def norm(self, norm: Number | None) -> None:
        self._norm = norm

    @property
    def skipped(self) -> int:
        """Steps that were left out."""
        return self._skipped if self._there is None else self._there.counts()[0]

    @property
    def in_a_row(self) -> int:
        """Steps that were left out since the last one that was not."""
        return self._in_a_row if self._there is None else self._there.counts()[1]

    def may_skip(self, found_inf: Tensor | None) -> bool:
        """Whether a step may be left out."""
        return found_inf is not None or self._limit > 0

    def factor(
        self, scale: Tensor | None, found_inf: Tensor | None, gradients: Gradients
    ) -> Number | None:
        """What the update multiplies gradients by; None: leave it out.

        Or, where a device decides, a tensor there that holds both.

        `scale` and `found_inf` are what a ``GradScaler`` gives an optimizer that unscales by
        itself: gradients are `scale` times too large, or hold an infinity where `found_inf` is not
        zero. Both are read once.
        """
        device = gradients.deciding_device(self.may_skip(found_inf))
        if device is not None:
            if self._there is None or self._there.device != device:
                self._there = DeviceDecision(device, self.skipped, self.in_a_row)
            there = self._there
            decision = there.decide(
                scale, found_inf, gradients.sum_of_squares_on(device) if self.reads else None,
                None if self._max_norm is None else (self._max_norm, SMALL), self._limit > 0,
            )  # fmt: skip
            self._norm, self.unscale = there.norm, there.unscale
            self.coefficient = there.coefficient
            return decision
        self._come_back()
        factor = self.unscale = 1.0 if scale is None else _inverse(float(scale))
        self.coefficient = 1.0
        if found_inf is not None and gradients.anywhere(float(found_inf) != 0):
            self._norm = math.inf if self.reads else None
            self._leave_out()
            return None
        if self.reads:
            norm = self._norm = factor * math.sqrt(gradients.sum_of_squares())
            if self._limit and not math.isfinite(norm):
                self._leave_out()
                return None
            self.coefficient = self._coefficient(norm)
            factor *= self.coefficient
        self._in_a_row = 0
        return factor

    def _coefficient(self, norm: float) -> float:
        """Of clipping, as ``clip_grad_norm_``: NaN where the norm is, 0 where it is infinite."""
        if self._max_norm is None:
            return 1.0
        coefficient = float(self._max_norm) / (norm + SMALL)
        return 1.0 if coefficient > 1 else coefficient

    def unscale_gradients(self, groups: Sequence[dict[str, Any]]) -> None:
        """Leave gradients behind as torch does after a ``GradScaler``'s step: those of the loss.

        Torch's fused optimizers leave them scaled where the step is left out, and nowhere else.
        """
        if isinstance(self.unscale, Tensor) and self._there is not None:
            for group in groups:
                factor = self._there.unscale_if_done if group.get("fused") else self.unscale
                multiply(held([group]), factor)
        elif self.unscale != 1:
            left_out = self.in_a_row > 0
            groups = [group for group in groups if not (left_out and group.get("fused"))]
            multiply(held(groups), self.unscale)

    def _leave_out(self) -> None:
        self._skipped += 1
        self._in_a_row += 1

    def check(self, groups: Sequence[dict[str, Any]]) -> None:
        """Raise :class:`NonFiniteError` where too many steps in a row were left out.

        A device's count is looked at when it has come by itself, which may be a few steps later.
        """
        if not self._limit:
            return
        in_a_row = self._in_a_row if self._there is None else self._there.newly_seen_in_a_row()
        if in_a_row < self._limit:
            return
        names = nonfinite(groups)
        others = (
            "those that GradScaler looked at"
            if self._there is None
            else "those of steps before this one, as the device tells now"
        )
        where = f"those of {several(names)}" if names else others
        raise NonFiniteError(
            f"{in_a_row} steps in a row were left out because gradients hold infinities or "
            f"NaN: {where}. Nothing was updated in them. Look at the loss and the data of these "
            "steps, lower the learning rate, or let skip_nonfinite allow more"
        )

    def _come_back(self) -> None:
        """Have all numbers on the host."""
        if self._there is not None:
            self._skipped, self._in_a_row = self._there.counts()
            self._norm, self._there = self.norm, None
            self.unscale, self.coefficient = float(self.unscale), float(self.coefficient)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has all numbers on the host; this one's stay where a graph may count them.
        found = {
            "_norm": self.norm,
            "_skipped": self.skipped,
            "_in_a_row": self.in_a_row,
            "unscale": float(self.unscale),
            "coefficient": float(self.coefficient),
            "_there": None,
        }
        return {**self.__dict__, **found}


def _inverse(scale: float) -> float:
    return 1 / scale if scale else math.inf
