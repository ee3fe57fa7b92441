"""Steps inside of ``backward()``: parameters that come, go and change, and the end of it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch

import adamantine
from adamantine.errors import UsageError
from in_backward_cases import (
    Network,
    assert_same_bits,
    live_gradients,
    stepping,
    train,
    train_in_backward,
    twins,
)


def test_frozen_parameters_join_when_they_thaw() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    for model in (plain[0], network):
        model.layer.requires_grad_(False)
    handle = optimizer.step_in_backward(network)
    for thawed in (False, True, True):
        for model, its in (plain, (network, optimizer)):
            model.layer.requires_grad_(thawed)
            train(model, its, 1)
    assert_same_bits((network, optimizer), plain)
    assert len(handle._hook._handles) == 5


def test_a_group_that_is_added_joins() -> None:
    network = Network()
    optimizer = adamantine.AdamW([network.layer.weight, network.layer.bias])
    optimizer.step_in_backward(network)
    train_in_backward_of(network, 3)
    assert network.table.weight.grad is not None  # somebody else's
    network.zero_grad()
    optimizer.add_param_group(
        {"params": [network.table.weight, network.seldom], "lr": 0.1, "weight_decay": 0}
    )
    before = network.table.weight.detach().clone()
    train_in_backward(network, 1)
    moved = float((network.table.weight.detach() - before).abs().max())
    assert moved == pytest.approx(0.1, rel=0.02)  # Adam's first step is its learning rate


def train_in_backward_of(network: Network, steps: int) -> None:
    for number in range(steps):
        network.loss(number).backward()
        assert network.layer.weight.grad is network.layer.bias.grad is None


def test_a_parameter_that_is_taken_out_keeps_its_gradient() -> None:
    network, optimizer, _ = stepping()
    train_in_backward(network, 1)
    (group,) = optimizer.param_groups
    group["params"] = [p for p in group["params"] if p is not network.layer.bias]
    bias = network.layer.bias.detach().clone()
    network.loss(0).backward()
    assert network.layer.bias.grad is not None
    assert torch.equal(network.layer.bias, bias)


def test_parameters_that_change_groups_change_settings() -> None:
    network = Network()
    table, rest = network.table.weight, [*network.layer.parameters(), network.seldom]
    optimizer = adamantine.SGD([{"params": [table], "lr": 0.0}, {"params": rest, "lr": 0.1}])
    optimizer.step_in_backward(network)
    before = table.detach().clone()
    train_in_backward(network, 1)
    assert torch.equal(table, before)
    first, second = optimizer.param_groups
    first["params"][0], second["params"][0] = second["params"][0], first["params"][0]
    weight = network.layer.weight.detach().clone()
    train_in_backward(network, 1)
    assert not torch.equal(table, before)
    assert torch.equal(network.layer.weight, weight)


def test_moved_parameters_and_cleared_states() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    for move in (
        lambda model, its: None,
        lambda model, its: its.state.clear(),
        lambda model, its: model.load_state_dict(
            {k: v + 0.1 for k, v in model.state_dict().items()}
        ),
        lambda model, its: setattr(model.seldom, "data", model.seldom.data.clone()),
        lambda model, its: (model.double(), its.state.clear()),
    ):
        for model, its in (plain, (network, optimizer)):
            move(model, its)
            train(model, its, 2)
    assert_same_bits((network, optimizer), plain)


# The end of it


def test_remove_leaves_steps_to_step() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    handle = optimizer.step_in_backward(network)
    train(*plain, 3)
    train_in_backward(network, 3)
    handle.remove()
    handle.remove()
    train(*plain, 3, start=3)
    network.loss(3).backward()
    assert live_gradients(network) == 4
    optimizer.step()
    optimizer.zero_grad()
    train(network, optimizer, 2, start=4)
    assert_same_bits((network, optimizer), plain)
    again = optimizer.step_in_backward(network)
    train_in_backward(network, 1)
    again.remove()


def test_optimizers_that_are_gone_are_missed() -> None:
    network, optimizer, handle = stepping()
    gone = weakref.ref(optimizer)
    del optimizer
    assert gone() is None  # neither the handle nor the parameters hold it
    with pytest.raises(UsageError, match="is gone, and nothing was updated"):
        network.loss(0).backward()
    network.loss(0).backward()  # told, the hooks are off
    assert live_gradients(network) == 3
    handle.remove()
    network.zero_grad()
    optimizer = adamantine.SGD(network.parameters())
    optimizer.step_in_backward(network)
    del optimizer, handle
    gc.collect()
    optimizer = adamantine.SGD(network.parameters())
    optimizer.step_in_backward(network)  # takes the dead hooks off
    train_in_backward(network)


def test_parameters_are_freed_with_their_model() -> None:
    network, optimizer, handle = stepping()
    train_in_backward(network)
    weight = weakref.ref(network.layer.weight)
    del network, optimizer, handle
    gc.collect()
    assert weight() is None


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deep", "pickle"]
)
def test_copies_step_when_step_is_called(copied: Any) -> None:
    network, optimizer, _ = stepping()
    train_in_backward(network, 2)
    model, its = copied((network, optimizer))
    train_in_backward(network, 2, start=2)
    model.loss(2).backward()
    assert live_gradients(model) == 3
    its.step()
    its.zero_grad()
    train(model, its, 1, start=3)
    assert_same_bits((model, its), (network, optimizer))
    its.step_in_backward(model)
    train_in_backward(model, 1)
