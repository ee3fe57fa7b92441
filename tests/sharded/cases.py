"""Small networks and their gradients, whole and spread over processes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    """With shards of different sizes on two processes, and two that are empty on one of them."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 1))
    return net.to(dtype)


def sharded(net: nn.Module, mesh: Any) -> nn.Module:
    """A copy under FSDP2."""
    return fully_shard(copy.deepcopy(net), mesh=mesh)


def backward(net: nn.Module, step: int, scale: float = 1.0) -> None:
    """The same batch on every process."""
    inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
    weight = next(net.parameters())
    loss = (net(inputs.to(weight.dtype)) - inputs.sum(1, keepdim=True)).square().mean()
    (scale * loss).backward()


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def assert_same(
    given: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-6, atol: float = 1e-6
) -> None:
    torch.testing.assert_close(
        [whole(t.detach()) for t in given],
        [t.detach() for t in expected],
        rtol=rtol,
        atol=atol,
    )


def give_gradients(params: Sequence[Tensor], seed: int, scale: float = 1.0) -> None:
    """The same numbers as gradients of whole tensors and of DTensors."""
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        numbers = scale * torch.randn(param.shape, generator=generator)
        # As the update would see it in any case, and as no float16 rounding is in the way.
        numbers = numbers.to(param.dtype)
        if isinstance(param, DTensor):
            numbers = distribute_tensor(numbers, param.device_mesh, param.placements)
        param.grad = numbers


def spread(tensors: Sequence[Tensor], mesh: Any, placements: Sequence[Any]) -> list[Tensor]:
    """Parameters with the same values, as DTensors."""
    return [nn.Parameter(distribute_tensor(t.detach().clone(), mesh, placements)) for t in tensors]


def parameters(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]
