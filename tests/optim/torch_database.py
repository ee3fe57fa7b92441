"""PyTorch's own database of optimizers, and a small network to run its entries on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import adamantine.optim

SHARED = [
    name
    for name in adamantine.optim.__all__
    if hasattr(torch.optim, name) and getattr(adamantine.optim, name).takes_dense
]
"""The classes that torch has too, by name: a new one is tested by being exported."""
SPARSE_ONLY = ["SparseAdam"]

every_class_of_both = pytest.mark.parametrize("name", SHARED + SPARSE_ONLY)
every_shared_class = pytest.mark.parametrize("name", SHARED)
SOME = "Adam", "SGD"
some_shared_classes = pytest.mark.parametrize(
    "name",
    [name if name in SOME else pytest.param(name, marks=pytest.mark.slow) for name in SHARED],
)
"""The others are slow: for what compiles kernels of its own."""

every_shared_class_and_dtype = pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float32) for name in SHARED),
        *(
            pytest.param(name, torch.float64, marks=[] if name in SOME else [pytest.mark.slow])
            for name in SHARED
        ),
    ],
    ids=str,
)

TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-6},
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
}


@cache
def database() -> dict[str, Any]:
    """Torch's ``OptimizerInfo`` by class name; loading it takes a few seconds."""
    pytest.importorskip("expecttest")
    allowed = "__allow_nonbracketed_mutation_flag"
    before = getattr(torch.backends, allowed)
    from torch.testing._internal.common_optimizers import optim_db

    setattr(torch.backends, allowed, before)  # torch's test suite locks torch.backends.cudnn.*
    return {info.name: info for info in optim_db}


def both(name: str) -> tuple[type[torch.optim.Optimizer], type[torch.optim.Optimizer]]:
    """Our class and torch's."""
    return getattr(adamantine.optim, name), getattr(torch.optim, name)


class Network:
    """Two layers with a gain between them; the last parameter never gets a gradient.

    With `leaves=False` the parameters may be written by recorded operations
    (``differentiable=True``).
    """

    SHAPES = ((5, 7), (5,), (), (3, 5), (4,))
    MATRICES = ((5, 7), (1, 5), (1, 1), (3, 5), (4, 2))

    def __init__(
        self, dtype: torch.dtype, leaves: bool = True, sparse: bool = False, matrices: bool = False
    ) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        shapes = self.MATRICES if matrices else self.SHAPES
        self.params = [draw(*shape).requires_grad_() for shape in shapes]
        if not leaves:
            self.params = [p.clone() for p in self.params]
            for param in self.params:
                param.retain_grad()
        self.inputs, self.targets = draw(16, 7), draw(16, 3)
        self.sparse = sparse

    def groups(self, **settings: Any) -> list[dict[str, Any]]:
        """The parameters in two groups, the second one with settings of its own."""
        return [{"params": self.params[:2]}, {"params": self.params[2:], **settings}]

    def loss(self) -> Tensor:
        w1, b1, gain, w2, _ = self.params
        hidden = torch.tanh(self.inputs @ w1.T + b1) * gain
        return (hidden @ w2.T - self.targets).square().mean()

    def closure(self) -> Tensor:
        loss = self.loss()
        used = self.params[:4]
        for param, grad in zip(used, torch.autograd.grad(loss, used), strict=True):
            param.grad = grad.to_sparse() if self.sparse and grad.dim() else grad
        return loss.detach()

    def train(
        self,
        optimizer: torch.optim.Optimizer,
        steps: int,
        after: Callable[[Tensor], object] = lambda loss: None,
    ) -> list[Tensor]:
        """Do `steps` steps with a closure, call `after` with each loss; return the losses."""
        losses = []
        for _ in range(steps):
            losses.append(optimizer.step(self.closure))
            after(losses[-1])
        return losses


def network_of(name: str, dtype: torch.dtype, **options: bool) -> Network:
    """A network that the optimizer called `name` can train: torch's Muon takes matrices alone."""
    return Network(dtype, **options, matrices=name == "Muon")


def tolerance(dtype: torch.dtype, oracle: torch.optim.Optimizer) -> dict[str, float]:
    """How near two trajectories must be.

    NAdam keeps the product of its momenta in float32, whatever the parameters are: float64 ones
    cannot agree to more than that.
    """
    narrow = any(
        name != "step" and value.dtype == torch.float32
        for entries in oracle.state.values()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    )
    return TOLERANCE[torch.float32 if narrow else dtype]


def assert_same(
    ours: tuple[Network, torch.optim.Optimizer],
    theirs: tuple[Network, torch.optim.Optimizer],
    **tolerance: float,
) -> None:
    """Parameters, states by name, and settings are the same on both sides."""
    for a, b in zip(ours[0].params, theirs[0].params, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), **tolerance)
    a, b = (side[1].state_dict() for side in (ours, theirs))
    assert a["param_groups"] == b["param_groups"]
    torch.testing.assert_close(_detached(a["state"]), _detached(b["state"]), **tolerance)


def _detached(state: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {
        index: {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in entries.items()
        }
        for index, entries in state.items()
    }
