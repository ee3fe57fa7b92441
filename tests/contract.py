"""What the files of contract tests share: random parameters, gradients, and comparisons."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cases import CASES

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def _first_of_each_optimizer() -> list[Any]:
    found, seen = [], set()
    for case in CASES:
        marks = [pytest.mark.slow] if case.ours in seen else []
        seen.add(case.ours)
        found.append(pytest.param(case, id=str(case), marks=marks))
    return found


one_case_each = pytest.mark.parametrize("case", _first_of_each_optimizer())
"""A row of each optimizer; the others are slow: for what compiles many kernels a row."""

Optimizer = torch.optim.Optimizer


def parameters(
    *shapes: int | tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes
    ]


def train(
    optimizer: Optimizer, params: list[torch.nn.Parameter], steps: int, seed: int = 1
) -> None:
    """Feed `steps` random gradients, the same for all dtypes."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float32)
            param.grad = grad.to(param.dtype)
        optimizer.step()


def clones(params: list[torch.nn.Parameter], dtype: torch.dtype | None = None) -> list:
    return [torch.nn.Parameter(p.detach().clone().to(dtype or p.dtype)) for p in params]


def worst_error(params: list[torch.nn.Parameter], exact: list[torch.nn.Parameter]) -> float:
    pairs = zip(params, exact, strict=True)
    return max(float((p - e).detach().abs().max()) for p, e in pairs if p.numel())


def assert_same_state(ours: Optimizer, theirs: Optimizer, rtol: float = 1e-4) -> None:
    a, b = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert a.keys() == b.keys()
    for index in a:
        assert a[index].keys() == b[index].keys()
        for name in a[index]:
            torch.testing.assert_close(a[index][name], b[index][name], rtol=rtol, atol=1e-6)
