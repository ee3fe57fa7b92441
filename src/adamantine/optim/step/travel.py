"""Parameters that are elsewhere between steps: what a plan asks of whoever brings them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Travel(Protocol):
    """What brings parameters and gradients from elsewhere, and parameters back."""

    def bucket(self, param: Tensor) -> int:
        """With which others a parameter is updated; those of smaller numbers come first."""
        ...

    def before(self, params: Sequence[Tensor]) -> None:
        """Have these here, with their gradients."""
        ...

    def after(self, params: Sequence[Tensor]) -> None:
        """These have been updated."""
        ...
