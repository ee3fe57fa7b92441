"""What the tests of steps inside of ``backward()`` share: a small network, and comparisons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import adamantine
from adamantine.optim import RuleOptimizer

STEPS = 4


class Network(nn.Module):
    """A table used twice, a layer, a parameter that odd batches use, and one that none does."""

    def __init__(self, dtype: torch.dtype = torch.float32, sparse: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(7, 5, sparse=sparse, dtype=dtype)
        self.layer = nn.Linear(5, 5, dtype=dtype)
        self.seldom = nn.Parameter(torch.ones(5, dtype=dtype))
        self.never = nn.Parameter(torch.ones(3, dtype=dtype))
        self.tied = not sparse  # the other use has a dense gradient

    def loss(self, number: int, factor: float = 1.0) -> Tensor:
        random = torch.Generator().manual_seed(number)
        words = torch.randint(7, (6,), generator=random)
        hidden = torch.tanh(self.layer(self.table(words)))
        if number % 2:
            hidden = hidden * self.seldom
        out = hidden @ self.table.weight.T if self.tied else hidden
        return factor * (out - 0.1 * number).square().mean()


def twins(cls: type[RuleOptimizer], dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """Two networks that are alike, each with an optimizer."""
    networks = Network(dtype), Network(dtype)
    return [(network, cls(network.parameters(), **settings)) for network in networks]


def stepping(**settings: Any) -> tuple[Network, adamantine.AdamW, Any]:
    """A network whose backward steps, its optimizer, and the handle."""
    network = Network()
    optimizer = adamantine.AdamW(network.parameters(), **settings)
    return network, optimizer, optimizer.step_in_backward(network)


def train(network: Network, optimizer: RuleOptimizer, steps: int = STEPS, start: int = 0) -> None:
    """The usual loop, which is also fine where ``backward()`` has stepped already."""
    for number in range(start, start + steps):
        network.loss(number).backward()
        optimizer.step()
        optimizer.zero_grad()


def train_in_backward(network: Network, steps: int = STEPS, start: int = 0) -> None:
    for number in range(start, start + steps):
        network.loss(number).backward()
        assert live_gradients(network) == 0


def live_gradients(network: nn.Module) -> int:
    return sum(p.grad is not None for p in network.parameters())


def assert_same_bits(one: tuple[nn.Module, Any], other: tuple[nn.Module, Any]) -> None:
    params, others = (list(pair[0].parameters()) for pair in (one, other))
    assert all(map(torch.equal, params, others))
    ours, theirs = (pair[1].state_dict()["state"] for pair in (one, other))
    assert ours.keys() == theirs.keys()
    for index, state in ours.items():
        assert state.keys() == theirs[index].keys()
        assert all(torch.equal(torch.as_tensor(state[n]), theirs[index][n]) for n in state)
