"""Things of torch that work around an optimizer: averages, parametrizations, hooks, sharing."""

from __future__ import annotations

import copy
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader

import adamantine
from adamantine.optim.matrices import MatrixOptimizer
from cases import Case, rule_of
from contract import about, assert_same_state, every_case, one_case_each, parameters, train

MODULES = (adamantine, torch.optim)


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    # No bias before the norm: its gradient is rounding noise, which Adam would amplify.
    return nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 4, generator=generator), torch.randn(16, 2, generator=generator))
        for _ in range(count)
    ]


def step(net: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[torch.Tensor, ...]) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(net(batch[0]), batch[1]).backward()
    optimizer.step()


def assert_same_weights(nets: list[nn.Module]) -> None:
    ours, theirs = (net.state_dict() for net in nets)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", ["swa", "ema"])
def test_averages_of_weights(average: str) -> None:
    averages = []
    for module in MODULES:
        net = model()
        optimizer = module.AdamW(net.parameters(), lr=1e-2)
        averaged = AveragedModel(
            net, multi_avg_fn=get_ema_multi_avg_fn(0.9) if average == "ema" else None
        )
        schedule = SWALR(optimizer, swa_lr=1e-3, anneal_epochs=4)
        data = batches(8)
        for batch in data:
            step(net, optimizer, batch)
            averaged.update_parameters(net)
            schedule.step()
        assert optimizer.param_groups[0]["lr"] == 1e-3
        update_bn(DataLoader([x for x, _ in data], batch_size=None), averaged)
        averages.append(averaged)
    assert_same_weights(averages)


class Symmetric(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.triu() + weight.triu(1).T

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.triu()


def orthogonal(layer: nn.Module) -> None:
    nn.utils.parametrizations.orthogonal(layer, use_trivialization=False)


@pytest.mark.parametrize("built", ["before", "after"])
@pytest.mark.parametrize(
    "parametrize",
    [
        lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric()),
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        orthogonal,
    ],
    ids=["own", "weight_norm", "spectral_norm", "orthogonal"],
)
def test_parametrized_layers(parametrize: Any, built: str) -> None:
    nets = []
    for module in MODULES:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        if built == "before":
            optimizer = module.Adam(net.parameters(), lr=1e-2)
            step(net, optimizer, batches(1)[0])
        parametrize(net[0])
        if built == "after":
            optimizer = module.Adam(net.parameters(), lr=1e-2)
        for batch in batches(5):
            step(net, optimizer, batch)
        nets.append(net)
    assert_same_weights(nets)


def test_step_hooks_see_and_change_the_arguments() -> None:
    results = []
    for module in MODULES:
        (param,) = parameters(3)
        param.grad = torch.ones(3)
        optimizer = module.SGD([param], lr=1.0)
        seen: list[Any] = []

        def replace(_: Any, args: Any, kwargs: Any, seen: list[Any] = seen) -> Any:
            seen.append(("before", len(args), sorted(kwargs)))
            return args[:1], {"closure": lambda: 5.0}

        optimizer.register_step_pre_hook(replace)
        handle = optimizer.register_step_post_hook(
            lambda _, args, kwargs, seen=seen: seen.append(("after", len(args), sorted(kwargs)))
        )
        losses = [optimizer.step(), optimizer.step(lambda: 7.0)]
        handle.remove()
        losses.append(optimizer.step())
        results.append((losses, seen))
    assert results[0] == results[1]
    assert results[0][0] == [5.0, 5.0, 5.0]


def test_a_gradient_that_a_pre_hook_clips_is_the_one_that_counts() -> None:
    results = []
    for module in MODULES:
        (param,) = parameters(3)
        optimizer = module.SGD([param], lr=1.0)
        optimizer.register_step_pre_hook(
            lambda *_, p=param: nn.utils.clip_grad_norm_([p], 0.1) and None
        )
        train(optimizer, [param], 3)
        results.append(param)
    assert torch.equal(results[0], results[1])


@one_case_each
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, where another test has had it
def test_processes_that_share_memory_train_one_state(case: Case) -> None:
    if rule_of(case).shared_sums is not None:
        pytest.skip("refused: what they decide is in the groups, which are each process's own")
    params = parameters(50, (3, 4))
    alone = copy.deepcopy(params)
    optimizer, other = case.ours(params, **case.settings), case.ours(alone, **case.settings)
    if not case.ours.family.counters:
        train(optimizer, params, 1)
        train(other, alone, 1)
    optimizer.share_memory()
    for param in params:
        param.share_memory_()
    for seed in range(3):
        if seed == 1:
            child = get_context("fork").Process(target=train, args=(optimizer, params, 2, seed))
            child.start()
            child.join(60)
            assert child.exitcode == 0
        else:
            train(optimizer, params, 2, seed)
        train(other, alone, 2, seed)
    assert all(torch.equal(p, q) for p, q in zip(params, alone, strict=True))
    assert_same_state(optimizer, other, rtol=0)


@every_case
def test_named_parameters_give_the_same_steps_and_keep_their_names(case: Case) -> None:
    if issubclass(case.ours, MatrixOptimizer):
        pytest.skip("gradients of few examples leave sides without eigenvectors; see test_soap.py")
    results = []
    for cls in (case.ours, case.theirs):
        net = model()
        optimizer = cls(net.named_parameters(), **case.settings)
        for batch in batches(3):
            step(net, optimizer, batch)
        results.append((net, optimizer.state_dict()))
    assert_same_weights([net for net, _ in results])
    assert results[0][1]["param_groups"] == list(map(about, results[1][1]["param_groups"]))
    assert results[0][1]["param_groups"][0]["param_names"][0] == "0.weight"
