"""``torch.compile`` around the step: the same numbers, and no new compilation for a new setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import adamantine
from cases import CASES
from torch_database import SHARED, TOLERANCE, Network, assert_same, both, network_of

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
    network, other = network_of(name, torch.float32), network_of(name, torch.float32)
    optimizer, oracle = ours(network.params), theirs(other.params)
    step = compiled_around(optimizer, network, "eager")
    for _ in range(5):
        step()
    other.train(oracle, 5)
    assert_same((network, optimizer), (other, oracle), **TOLERANCE[torch.float32])


ALL = list(dict.fromkeys(case.ours for case in CASES))


@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        pytest.param("aot_eager", marks=pytest.mark.slow),
        pytest.param("inductor", marks=pytest.mark.slow),
    ],
)
def test_made_and_stepped_within_a_compiled_function(backend: str) -> None:
    def fit(cls: type[Optimizer], weight: torch.Tensor) -> Optimizer:
        optimizer = cls([weight], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (weight * weight).sum().backward()
            optimizer.step()
        return optimizer

    compiled = torch.compile(fit, backend=backend)
    for cls in ALL:
        torch.compiler.reset()
        one, other = (torch.ones(2, 1, requires_grad=True) for _ in range(2))
        made, plain = compiled(cls, one), fit(cls, other)
        assert torch.equal(one, other)
        assert vars(made).keys() == vars(plain).keys()


def whole_life(weight: torch.Tensor, second: torch.Tensor) -> Any:
    optimizer = adamantine.AdamW([weight], lr=0.1, max_grad_norm=1.0, collect_stats=True)
    optimizer.share_memory()
    optimizer.add_param_group({"params": [second], "lr": 0.2})
    (weight.square().sum() + second.square().sum()).backward()
    optimizer.step()
    other = adamantine.AdamW([weight, second], lr=0.5)
    other.add_param_group({"params": [torch.zeros(1)]})
    third = adamantine.AdamW([{"params": [weight]}, {"params": [second]}], lr=0.5)
    third.load_state_dict(optimizer.state_dict())
    third.step()
    return weight, second, optimizer.grad_norm, len(optimizer.stats()), third.state_dict()


def embedding(weight: torch.Tensor, second: torch.Tensor) -> Any:
    table = torch.nn.Embedding(5, 2, sparse=True, _weight=torch.ones(5, 2))
    optimizer = adamantine.Adam(table.parameters(), sparse="exact", lr=0.1)
    optimizer.attach(table)
    for rows in ([1, 2], [3, 2], [0, 1]):
        optimizer.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimizer.step()
    optimizer.flush()
    return table.weight


def in_backward(weight: torch.Tensor, second: torch.Tensor) -> Any:
    model = torch.nn.ParameterList([weight, second])
    optimizer = adamantine.AdamW(model.parameters(), lr=0.1)
    stepping = optimizer.step_in_backward(model)
    (weight.square().sum() + second.square().sum()).backward()
    stepping.remove()
    return weight, second


@pytest.mark.parametrize("life", [whole_life, embedding, in_backward])
def test_everything_else_within_a_compiled_function(life: Callable[..., Any]) -> None:
    results = []
    for run in (life, torch.compile(life, backend="eager")):
        results.append(run(*(torch.nn.Parameter(torch.full((n,), 2.0)) for n in (3, 4))))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_compiled_model_with_an_attached_embedding() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True, _weight=torch.ones(5, 2))
    optimizer = adamantine.Adam(table.parameters(), sparse="exact", lr=0.1)
    optimizer.attach(table)
    model = torch.compile(table, backend="eager")
    for rows in ([1, 2], [3, 2], [0, 1]):
        optimizer.zero_grad()
        model(torch.tensor(rows)).sum().backward()
        optimizer.step()
    optimizer.flush()
    torch.testing.assert_close(table.weight, embedding(torch.ones(1), torch.ones(1)))
