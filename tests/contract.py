"""What the files of contract tests share: random parameters, gradients, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import torch

from cases import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def slow_repeats(rows: Iterable[tuple[Any, ...]], kind: Callable[..., object]) -> list[Any]:
    """Parameters of a test; slow are those of a `kind` that an earlier row is of."""
    found, seen = [], set()
    for row in rows:
        marks = [pytest.mark.slow] if kind(*row) in seen else []
        seen.add(kind(*row))
        found.append(pytest.param(*row, id="-".join(map(str, row[:2])), marks=marks))
    return found


ROWS = [(case,) for case in CASES]
one_case_each = pytest.mark.parametrize("case", slow_repeats(ROWS, lambda case: case.ours))
"""A row of each optimizer; the others are slow: for what compiles kernels of its own a row."""

UNUSED = ("maximize", "weight_decay", "decoupled_weight_decay")


def _descent(case: Case) -> object:
    rest = {k: v for k, v in case.settings.items() if k not in UNUSED}
    return case.ours, *sorted(map(str, rest.items()))


every_descent = pytest.mark.parametrize("case", slow_repeats(ROWS, _descent))
"""The rows that differ where nothing decays and all is minimized; the others are slow."""


def every_case_in(tolerances: Mapping[torch.dtype, float | None]) -> pytest.MarkDecorator:
    """Every row with each of the dtypes and its `rtol`.

    Where there is a kernel for each rule and dtype, rows after an optimizer's first one are slow.
    """
    shared = torch.float32, torch.complex64  # one kernel, which all tests share
    rows = [(case, dtype, rtol) for dtype, rtol in tolerances.items() for case in CASES]
    return pytest.mark.parametrize(
        ("case", "dtype", "rtol"),
        slow_repeats(
            rows, lambda case, dtype, _: (dtype, case.name if dtype in shared else case.ours)
        ),
    )


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
