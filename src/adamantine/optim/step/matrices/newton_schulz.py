"""Orthogonal matrices by products of matrices alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


def orthogonalized(
    matrices: Tensor,
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    r"""About :math:`U V^T` of each matrix :math:`U S V^T`, by Newton and Schulz's iteration.

    Parameters
    ----------
    matrices
        ``(B, rows, columns)``.
    coefficients
        :math:`(a, b, c)`; each step turns a singular value s into
        :math:`a s + b s^3 + c s^5`. Muon's own grow small ones fast, and do not converge: what
        was above about 0.001 of the norm ends between 0.7 and 1.2.
    steps
        How many.
    eps
        The least norm that a matrix is divided by first.
    dtype
        What it is computed in.

    Returns
    -------
    Tensor
        ``(B, rows, columns)`` in `dtype`; it shares no memory with `matrices`.
    """
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(dtype)
    x = x.mT if tall else x  # the products are of the smaller side
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


@cache
def fast_dtype(device: str) -> torch.dtype:
    """What a type of device multiplies fastest of what is precise enough: bfloat16, as a rule.

    Of processors, those that have instructions for it: there it takes a quarter of float32's time.
    Others compute it in float32 and round, which takes longer than float32 itself.
    """
    if device != "cpu":
        return torch.bfloat16
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    multiplies = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return torch.bfloat16 if multiplies else torch.float32
