"""What steps inside of ``backward()`` refuse, and what they survive."""

from __future__ import annotations

import re
import warnings
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
    stepping,
    train,
    train_in_backward,
    twins,
)

PAGE = Path(__file__).parents[3] / "docs" / "in_backward.md"


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

    def test_fsdp2_is_taken(self) -> None:
        from torch.distributed.fsdp import fully_shard

        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        model = fully_shard(nn.Linear(2, 2), mesh=mesh)
        optimizer = adamantine.AdamW(model.parameters())
        optimizer.step_in_backward(model)
        model(torch.ones(1, 2)).sum().backward()
        assert all(p.grad is None and optimizer.state[p]["step"] == 1 for p in model.parameters())


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
@pytest.mark.slow
def test_compiled_autograd() -> None:
    plain, (network, optimizer) = twins(adamantine.AdamW)
    optimizer.step_in_backward(network)
    from torch._dynamo.compiled_autograd import _enable

    with _enable(torch.compile(backend="eager")):
        train_in_backward(network, 3)
    train(*plain, 3)
    assert_same_bits((network, optimizer), plain)
    torch.compiler.reset()


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


# The page


def test_the_programs_of_the_page_run() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
