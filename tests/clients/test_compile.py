"""``torch.compile`` around the step: the same numbers, and no new compilation for a new setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from torch_database import SHARED, TOLERANCE, Network, assert_same, both

Optimizer = torch.optim.Optimizer

# Torch's compiler looks at `grad` of the tensors that it traces with.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled_step(optimizer: Optimizer, network: Network, backend: str) -> Callable[[], Any]:
    step = torch.compile(optimizer.step, backend=backend)

    def whole() -> None:
        network.closure()
        step()

    return whole


def compiled_around(optimizer: Optimizer, network: Network, backend: str) -> Callable[[], Any]:
    @torch.compile(backend=backend)
    def whole() -> None:
        optimizer.zero_grad()
        network.loss().backward()
        optimizer.step()

    return whole


def compiled_with_closure(
    optimizer: Optimizer, network: Network, backend: str
) -> Callable[[], Any]:
    return torch.compile(lambda: optimizer.step(network.closure), backend=backend)


@pytest.mark.parametrize("make", [compiled_step, compiled_around, compiled_with_closure])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_numbers_and_compilations(make: Callable[..., Any], backend: str) -> None:
    ours, theirs = both("AdamW")
    network, other = Network(torch.float32), Network(torch.float32)
    optimizer, oracle = ours(network.params), theirs(other.params)
    step = make(optimizer, network, backend)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(len(seen)))
    for _ in range(3):
        step()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for factor in (0.5, 3.0, 0.1):
            optimizer.param_groups[0]["lr"] *= factor
            step()
    assert seen == list(range(6))
    other.train(oracle, 3)
    for factor in (0.5, 3.0, 0.1):
        oracle.param_groups[0]["lr"] *= factor
        other.train(oracle, 1)
    assert_same((network, optimizer), (other, oracle), **TOLERANCE[torch.float32])


@pytest.mark.parametrize("name", SHARED)
def test_every_class_within_a_compiled_function(name: str) -> None:
    ours, theirs = both(name)
    network, other = Network(torch.float32), Network(torch.float32)
    optimizer, oracle = ours(network.params), theirs(other.params)
    step = compiled_around(optimizer, network, "eager")
    for _ in range(5):
        step()
    other.train(oracle, 5)
    assert_same((network, optimizer), (other, oracle), **TOLERANCE[torch.float32])
