"""What steps inside of ``backward()`` refuse, what they survive, and what ends them."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import adamantine
from adamantine.errors import BackendError, MisuseWarning, UsageError
from in_backward_cases import (
    Network,
    assert_same_bits,
    live_gradients,
    train,
    train_in_backward,
    twins,
)

PAGE = Path(__file__).parents[1] / "docs" / "in_backward.md"


def stepping(**settings: Any) -> tuple[Network, adamantine.AdamW, Any]:
    network = Network()
    optimizer = adamantine.AdamW(network.parameters(), **settings)
    return network, optimizer, optimizer.step_in_backward(network)


# What is refused


@pytest.mark.parametrize(
    ("settings", "clip", "message"),
    [
        ({"max_grad_norm": 1.0}, False, "the global norm is known when the last gradient is"),
        ({}, True, "needs max_grad_norm="),
        ({"skip_nonfinite": True}, False, "skip_nonfinite does not go with"),
        ({"zero_grad": "zeros"}, False, "zero_grad='zeros' keeps the gradients"),
        ({"collect_stats": 5}, False, "collect_stats does not go with"),
        ({"differentiable": True}, False, "differentiable=True does not go with"),
    ],
)
def test_options_that_need_all_gradients(
    settings: dict[str, Any], clip: bool, message: str
) -> None:
    network = Network()
    optimizer = adamantine.AdamW(network.parameters(), **settings)
    with pytest.raises(UsageError, match=re.escape(message)):
        optimizer.step_in_backward(network, clip_by_previous_norm=clip)
    network.loss(0).backward()
    assert live_gradients(network) == 3  # no hook was left


def test_gradients_may_be_cleared_on_request_too() -> None:
    network, optimizer, _ = stepping(zero_grad=True)
    train_in_backward(network)
    optimizer.step()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without it")
class TestDistributed:
    @pytest.fixture(autouse=True)
    def _alone(self) -> Iterator[None]:
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        yield
        torch.distributed.destroy_process_group()

    def test_ddp_is_refused(self) -> None:
        network = Network()
        optimizer = adamantine.AdamW(network.parameters())
        wrapped = nn.parallel.DistributedDataParallel(network)
        for module in (wrapped, nn.Sequential(wrapped)):
            with pytest.raises(UsageError, match="does not take a DistributedDataParallel"):
                optimizer.step_in_backward(module)

    def test_fsdp_is_refused(self) -> None:
        from torch.distributed.fsdp import fully_shard

        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        model = fully_shard(nn.Linear(2, 2), mesh=mesh)
        optimizer = adamantine.AdamW(model.parameters())
        with pytest.raises(UsageError, match="does not take a FSDPModule"):
            optimizer.step_in_backward(model)


def test_the_module_has_to_have_the_parameters() -> None:
    network, other = Network(), nn.Linear(2, 2)
    optimizer = adamantine.AdamW([*network.parameters(), *other.parameters()])
    with pytest.raises(UsageError, match="parameter 5 of group 0, parameter 6 of group 0, and the"):
        optimizer.step_in_backward(network)
    with pytest.raises(UsageError, match=r"takes the nn\.Module"):
        optimizer.step_in_backward(network.parameters())
    optimizer.step_in_backward(nn.ModuleList([network, other]))


def test_twice_is_refused_for_an_optimizer_and_for_a_parameter() -> None:
    network, optimizer, handle = stepping()
    with pytest.raises(UsageError, match="steps in backward\\(\\) already"):
        optimizer.step_in_backward(network)
    second = adamantine.SGD(network.parameters())
    with pytest.raises(UsageError, match="another optimizer already steps"):
        second.step_in_backward(network)
    handle.remove()
    second.step_in_backward(network)
    train_in_backward(network)
    assert not optimizer.state


def test_grad_scaler_is_refused_when_it_steps() -> None:
    network, optimizer, handle = stepping()
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(network.loss(0)).backward()
    with pytest.raises(UsageError, match="GradScaler does not go with step_in_backward"):
        scaler.step(optimizer)
    network.loss(1).backward()
    optimizer.step()
    off = torch.amp.GradScaler("cpu", enabled=False)
    off.scale(network.loss(2)).backward()
    off.step(optimizer)
    handle.remove()
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(network.loss(3)).backward()
    scaler.step(optimizer)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("outside", [False, True])
def test_a_pass_within_a_pass_is_refused(outside: bool) -> None:
    inner, outer = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(outside)
    model = nn.Sequential(inner, outer)
    optimizer = adamantine.AdamW(model.parameters())
    optimizer.step_in_backward(model)
    inputs = torch.ones(2, 3, requires_grad=True)
    before = inner.weight.detach().clone()
    with pytest.raises(UsageError, match="use_reentrant=False does the same"):
        outer(checkpoint(inner, inputs, use_reentrant=True)).sum().backward()
    assert torch.equal(inner.weight, before)
    outer(checkpoint(inner, inputs, use_reentrant=False)).sum().backward()
    assert live_gradients(model) == 0
    assert not torch.equal(inner.weight, before)


# What step(), closures and hooks of it do


def test_step_afterwards_is_harmless_and_says_nothing() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        train(network, optimizer)
        train(*plain)
    assert_same_bits((network, optimizer), plain)


def test_missing_gradients_are_told_of_again_afterwards() -> None:
    _, optimizer, handle = stepping()
    optimizer.step()
    handle.remove()
    with pytest.warns(MisuseWarning, match="found no gradient"):
        optimizer.step()


def test_step_takes_gradients_that_were_set_by_hand() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    for model, its in (plain, (network, optimizer)):
        model.never.grad = torch.ones(3)
        its.step()
        its.zero_grad()
    assert_same_bits((network, optimizer), plain)
    assert live_gradients(network) == 0


def test_closures_step_in_their_backward() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    losses = []
    for model, its in (plain, (network, optimizer)):

        def closure(model: Network = model, its: Any = its) -> torch.Tensor:
            its.zero_grad()
            loss = model.loss(1)
            loss.backward()
            return loss

        losses.append([float(its.step(closure).detach()) for _ in range(3)])
    assert losses[0] == losses[1]
    assert_same_bits((network, optimizer), plain)


def test_hooks_of_step_are_called_by_step_alone() -> None:
    network, optimizer, _ = stepping()
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    train_in_backward(network)
    assert seen == []
    optimizer.step()
    assert seen == ["before", "after"]


# What autograd may do


def test_a_second_backward_through_updated_parameters_fails_as_after_a_step() -> None:
    network, optimizer, _ = stepping()
    loss = network.loss(0)
    loss.backward(retain_graph=True)
    before = [p.detach().clone() for p in network.parameters()]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    assert all(map(torch.equal, before, network.parameters()))
    train(network, optimizer, 1)


def test_backward_of_some_inputs_steps_those() -> None:
    network, optimizer, _ = stepping()
    network.loss(0).backward(inputs=[network.layer.weight])
    assert list(optimizer.state) == [network.layer.weight]
    assert live_gradients(network) == 0


def test_gradients_with_a_graph_of_their_own() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    for number in range(3):
        for model, its in (plain, (network, optimizer)):
            loss = model.loss(number)
            (slope,) = torch.autograd.grad(loss, model.layer.weight, create_graph=True)
            (loss + slope.square().sum()).backward()
            its.step()
            its.zero_grad()
    assert_same_bits((network, optimizer), plain)


def test_hooks_on_gradients_come_first() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    for model in (plain[0], network):
        model.layer.weight.register_hook(lambda grad: grad.clamp(-1e-3, 1e-3))
    train(*plain)
    train_in_backward(network)
    assert_same_bits((network, optimizer), plain)


# Torch's compiler looks at `grad` of the tensors that it traces with.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning")
@pytest.mark.parametrize("whole", [False, True])
def test_torch_compile_of_the_model_and_of_the_whole_step(whole: bool) -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)

    def step(number: int) -> None:
        network.loss(number).backward()
        optimizer.step()
        optimizer.zero_grad()

    loss = torch.compile(network.loss, backend="eager")
    compiled = torch.compile(step, backend="eager")
    for number in range(3):
        compiled(number) if whole else loss(number).backward()
    train(*plain, 3)
    assert_same_bits((network, optimizer), plain)
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning")
def test_compiled_autograd() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    from torch._dynamo.compiled_autograd import _enable

    with _enable(torch.compile(backend="eager")):
        train_in_backward(network, 3)
    train(*plain, 3)
    assert_same_bits((network, optimizer), plain)
    torch.compiler.reset()


# Parameters that come, go and change


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


# Errors


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_an_error_in_a_step_comes_out_of_backward(name: str) -> None:
    """The failing parameter is as it was; the ones before it are updated; training can go on."""
    settings = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    network = Network(sparse=True)
    optimizer = getattr(adamantine, name)(network.parameters(), **settings)
    optimizer.step_in_backward(network)
    allowed, refuse = type(optimizer)._sparse_mode, _refuse
    table = network.table.weight.detach().clone()
    bias = network.layer.bias.detach().clone()
    type(optimizer)._sparse_mode = classmethod(refuse)
    try:
        with pytest.raises(BackendError, match="not today"):
            network.loss(0).backward()
    finally:
        type(optimizer)._sparse_mode = allowed if name == "SGD" else classmethod(_lazy)
    try:
        assert torch.equal(network.table.weight, table)
        assert network.table.weight not in optimizer.state
        assert network.table.weight.grad is not None
        assert not torch.equal(network.layer.bias, bias)
        optimizer.zero_grad()
        network.loss(1).backward()
        assert live_gradients(network) == 0
        if name == "SGD":  # the first step has no dampening
            buffer = optimizer.state[network.table.weight]["momentum_buffer"]
            torch.testing.assert_close(table - 1e-3 * buffer, network.table.weight.detach())
    finally:
        type(optimizer)._sparse_mode = allowed


def _refuse(cls: Any, group: Any) -> Any:
    raise BackendError("not today")


def _lazy(cls: Any, group: Any) -> Any:
    return "lazy"


def test_half_precision_without_a_scaler_is_told_of() -> None:
    model = nn.ParameterList([torch.ones(3, dtype=torch.float16)])
    optimizer = adamantine.AdamW(model.parameters())
    optimizer.step_in_backward(model)
    with pytest.warns(MisuseWarning, match="updates float16 parameters"):
        (model[0] * 2).sum().backward()


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


# The page


def test_the_programs_of_the_page_run() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
