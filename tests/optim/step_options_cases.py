"""What the tests of options around the step share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
every_backend = pytest.mark.parametrize("backend", ["auto", "lists", "reference"])


def with_gradients(*grads: Tensor) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    return params


def layer_of(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
    return nn.Sequential(*layers).to(dtype)
