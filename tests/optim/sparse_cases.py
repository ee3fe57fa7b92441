"""What the files of sparse tests share: gradients of few rows, and comparisons with dense steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine

ROWS, WIDTH = 40, 7
# torch says so of the sparse tensors that its own optimizers make.
torch_may_warn = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

NAMES = ["Adam", "AdamW", "SGD", "Adagrad"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"weight_decay": 0.1}),
    ("AdamW", {"weight_decay": 0.1, "maximize": True, "eps": 1e-4}),
    ("AdamW", {"betas": (0.9, 0.95), "amsgrad": True}),
    ("SGD", {}),
    ("SGD", {"weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adagrad", {"weight_decay": 0.1}),
]
every_variant = pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=str)
every_backend = pytest.mark.parametrize("backend", ["auto", "reference"])


def coo(indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    indices = indices if indices.dim() == 2 else indices[None]
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False)


def gradients(
    steps: int, touched: int = 5, dtype: torch.dtype = torch.float32, rows: int = ROWS
) -> list[Tensor]:
    """Zipf-distributed rows, duplicates among them; some steps touch none."""
    random = torch.Generator().manual_seed(3)
    chances = 1 / torch.arange(1, rows + 1, dtype=torch.float64) ** 1.1
    found = []
    for step in range(steps):
        count = touched if step % 11 != 4 else 0
        indices = torch.multinomial(chances, max(1, count), True, generator=random)[:count]
        values = torch.randn(count, WIDTH, generator=random).to(dtype)
        found.append(coo(indices, values, (rows, WIDTH)))
    return found


def feed(
    optimizer: torch.optim.Optimizer,
    param: nn.Parameter,
    grads: list[Tensor],
    schedule: Callable[[int], float] | None = None,
    dense: bool = False,
) -> None:
    (group,) = optimizer.param_groups
    for step, grad in enumerate(grads):
        if schedule is not None:
            group["lr"] = schedule(step)
        param.grad = grad.to_dense() if dense else grad.clone()
        optimizer.step()


def cosine(step: int) -> float:
    return 1e-2 * (0.5 + 0.5 * math.cos(step * math.pi / 500))


def states(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [s for s in optimizer.state_dict()["state"].get(0, {}).values() if s is not None]


def assert_like_dense(
    ours: torch.optim.Optimizer, dense: torch.optim.Optimizer, rtol: float, atol: float
) -> None:
    """Parameters and states; what is smaller than `atol` of the largest is compared to that."""
    pairs = [(a, b) for a, b in zip(states(ours), states(dense), strict=True)]
    pairs.append((ours.param_groups[0]["params"][0], dense.param_groups[0]["params"][0]))
    for a, b in pairs:
        b = b.detach()
        largest = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a.detach().to(b.dtype), b, rtol=rtol, atol=atol * largest)


def embedding(**kwargs: Any) -> tuple[nn.Embedding, adamantine.Adam]:
    """An embedding of which row 0 was touched once and all rows three steps ago."""
    torch.manual_seed(0)
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = adamantine.Adam(table.parameters(), lr=0.1, sparse="exact", **kwargs)
    for rows in ([0, 1, 2, 3, 4], [0], [0], [0]):
        optimizer.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimizer.step()
    optimizer.zero_grad()
    return table, optimizer
