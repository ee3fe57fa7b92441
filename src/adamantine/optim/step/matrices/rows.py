"""Rows of matrices that are all of one length on average: what NorMuon adds to Muon."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-10
"""What the authors' code adds to what it divides by."""


def with_equal_rows(matrices: Tensor, averages: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Divide rows by the roots of averages of their mean squares, and keep each matrix's norm.

    Parameters
    ----------
    matrices
        ``(B, rows, columns)``.
    averages
        ``(B, rows, 1)``, of the steps before.
    beta2
        The averages' decay rate.

    Returns
    -------
    tuple
        The matrices, and the averages with this step. In float32, or float64 where matrices are.
    """
    wide = torch.promote_types(matrices.dtype, torch.float32)
    matrices, averages = matrices.to(wide), averages.to(wide)
    means = matrices.square().mean(-1, keepdim=True)
    averages = averages + (1 - beta2) * (means - averages)
    divided = matrices / (averages.sqrt() + TINY)
    norms = (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) for x in (matrices, divided))
    before, after = norms
    return divided * (before / (after + TINY)), averages
