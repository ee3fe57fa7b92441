"""By how much an update's gradients are scaled, and whether it happens at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from adamantine.errors import NonFiniteError
from adamantine.optim.step.gradients import Gradients, held, multiply, nonfinite
from adamantine.optim.usage.labels import several
from adamantine.optim.usage.options import StepOptions

SMALL = 1e-6
"""What ``torch.nn.utils.clip_grad_norm_`` adds to the norm before it divides by it."""


class GradientScaling:
    """What is decided before each update, from the gradients and from a ``GradScaler``.

    Parameters
    ----------
    options
        The optimizer's options.

    Attributes
    ----------
    reads
        Whether the gradients' norm is asked for.
    norm
        The last step's, unscaled and before clipping; None where it was not asked for.
    unscale, coefficient
        The last step's factors: of a ``GradScaler``, and of clipping.
    skipped, in_a_row
        Steps that were left out: all of them, and those since the last one that was not.
    """

    def __init__(self, options: StepOptions) -> None:
        self._max_norm, self._limit = options.max_grad_norm, options.skip_nonfinite
        self.reads = self._max_norm is not None or self._limit > 0
        self.norm: float | None = None
        self.skipped = self.in_a_row = 0
        self.unscale = self.coefficient = 1.0

    def factor(
        self, scale: Tensor | None, found_inf: Tensor | None, gradients: Gradients
    ) -> float | None:
        """What the update multiplies gradients by; None: leave it out.

        `scale` and `found_inf` are what a ``GradScaler`` gives an optimizer that unscales by
        itself: gradients are `scale` times too large, or hold an infinity where `found_inf` is not
        zero. Both are read once.
        """
        factor = self.unscale = 1.0 if scale is None else _inverse(float(scale))
        self.coefficient = 1.0
        if found_inf is not None and gradients.anywhere(float(found_inf) != 0):
            self.norm = math.inf if self.reads else None
            self._leave_out()
            return None
        if self.reads:
            self.norm = factor * math.sqrt(gradients.sum_of_squares())
            if self._limit and not math.isfinite(self.norm):
                self._leave_out()
                return None
            self.coefficient = self._coefficient()
            factor *= self.coefficient
        self.in_a_row = 0
        return factor

    def _coefficient(self) -> float:
        """Of clipping, as ``clip_grad_norm_``: NaN where the norm is, 0 where it is infinite."""
        if self._max_norm is None or self.norm is None:
            return 1.0
        coefficient = self._max_norm / (self.norm + SMALL)
        return 1.0 if coefficient > 1 else coefficient

    def unscale_gradients(self, groups: Sequence[dict[str, Any]]) -> None:
        """Leave gradients behind as torch does after a ``GradScaler``'s step: those of the loss.

        Torch's fused optimizers leave them scaled where the step is left out, and nowhere else.
        """
        if self.unscale != 1:
            left_out = self.in_a_row > 0
            groups = [group for group in groups if not (left_out and group.get("fused"))]
            multiply(held(groups), self.unscale)

    def _leave_out(self) -> None:
        self.skipped += 1
        self.in_a_row += 1

    def check(self, groups: Sequence[dict[str, Any]]) -> None:
        """Raise :class:`NonFiniteError` where too many steps in a row were left out."""
        if not self._limit or self.in_a_row < self._limit:
            return
        names = nonfinite(groups)
        where = f"those of {several(names)}" if names else "those that GradScaler looked at"
        raise NonFiniteError(
            f"{self.in_a_row} steps in a row were left out because gradients hold infinities or "
            f"NaN: {where}. Nothing was updated in them. Look at the loss and the data of these "
            "steps, lower the learning rate, or let skip_nonfinite allow more"
        )


def _inverse(scale: float) -> float:
    return 1 / scale if scale else math.inf
