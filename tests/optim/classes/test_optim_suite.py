"""What PyTorch's own tests of its optimizers look at, and ``test_contract_*.py`` does not.

Rebuilt after the list in PyTorch's ``test/test_optim.py``, with torch's class of the same name or
exact equality as the oracle, over the configurations of its database.
"""

from __future__ import annotations

import copy
import gc
import inspect
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from torch_database import (
    TOLERANCE,
    Network,
    assert_same,
    both,
    database,
    every_shared_class,
    network_of,
    some_shared_classes,
)


def configurations(name: str) -> list[dict[str, Any]]:
    return [entry.kwargs for entry in database()[name].optim_inputs_func(device="cpu")]


def trained(cls: Any, steps: int = 5, **settings: Any) -> tuple[Network, torch.optim.Optimizer]:
    network = network_of(cls.__name__, torch.float32)
    optimizer = cls(network.params, **settings)
    network.train(optimizer, steps)
    return network, optimizer


@every_shared_class
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_learning_rate_as_a_tensor_of_any_shape(name: str, shape: tuple[int, ...]) -> None:
    ours, _ = both(name)
    for settings in configurations(name):
        rate = float(settings.get("lr", 0.0078125))  # exact in float32
        tensor = torch.full(shape, rate)
        by_number, _ = trained(ours, **{**settings, "lr": float(tensor)})
        by_tensor, optimizer = trained(ours, **{**settings, "lr": tensor})
        assert all(map(torch.equal, by_number.params, by_tensor.params))
        assert optimizer.param_groups[0]["lr"] is tensor
        assert torch.equal(tensor, torch.full(shape, rate))


@every_shared_class
def test_complex_is_a_pair_of_reals(name: str) -> None:
    if not database()[name].supports_complex:
        pytest.skip(f"torch's {name} refuses complex parameters")
    ours, _ = both(name)
    for settings in configurations(name):
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn(4, 3, dtype=torch.complex64, generator=generator)
        param = draw.clone().requires_grad_()
        pair = torch.view_as_real(draw).clone().requires_grad_()
        parts = [draw.real.clone().requires_grad_(), draw.imag.clone().requires_grad_()]
        optimizers = [ours(p, **settings) for p in ([param], [pair], parts)]
        for _ in range(5):
            param.grad = torch.randn(4, 3, dtype=torch.complex64, generator=generator)
            pair.grad = torch.view_as_real(param.grad).clone()
            parts[0].grad, parts[1].grad = param.grad.real.clone(), param.grad.imag.clone()
            for optimizer in optimizers:
                optimizer.step()
        whole = torch.view_as_real(param.detach())
        assert torch.equal(whole, pair.detach())
        assert torch.equal(whole, torch.stack(parts, -1).detach())


# A word about float16 without a scaler is no error here.
@pytest.mark.filterwarnings("ignore:.*float16 parameters without a GradScaler")
@some_shared_classes
def test_one_group_of_many_dtypes(name: str) -> None:
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
    if not database()[name].supports_complex:
        dtypes.pop()
    for settings in configurations(name):
        sides = []
        for cls in both(name):
            # In float16, 1e-8 is zero, and 0/0 is NaN in torch's arithmetic.
            default = inspect.signature(cls).parameters.get("eps")
            eps = {} if default is None else {"eps": 1e-3}
            if default is not None and isinstance(default.default, tuple):
                eps = {"eps": (1e-3, 1e-3)}  # for None, torch takes that of the first dtype
            generator = torch.Generator().manual_seed(0)
            shape = (1, 17) if name == "Muon" else (17,)
            params = [
                torch.randn(shape, generator=generator).to(dtype).requires_grad_()
                for dtype in dtypes
            ]
            lists = {} if name == "Muon" else {"foreach": False}
            optimizer = cls(params, **{**settings, **eps, **lists})
            for _ in range(5):
                for param in params:
                    param.grad = torch.randn(shape, generator=generator).to(param.dtype)
                optimizer.step()
            sides.append(params)
        for a, b in zip(*sides, strict=True):
            # Not below 1e-5: NAdam keeps a float32 scalar for its float64 parameters, too.
            rtol = max(20 * torch.finfo(a.dtype).eps, 1e-5)
            torch.testing.assert_close(a.detach(), b.detach(), rtol=rtol, atol=rtol)


@every_shared_class
def test_state_of_older_torch_lacks_newer_switches(name: str) -> None:
    ours, theirs = both(name)
    _, source = trained(theirs)
    saved = copy.deepcopy(source.state_dict())
    for group in saved["param_groups"]:
        for flag in database()[name].not_og_supported_flags[:1]:
            group.pop(flag, None)
    for entries in saved["state"].values():
        if "step" in entries:
            entries["step"] = int(entries["step"])
    sides = []
    for cls in (ours, theirs):
        network, optimizer = trained(cls)
        optimizer.load_state_dict(copy.deepcopy(saved))
        network.train(optimizer, 5)
        sides.append((network, optimizer))
    for _, optimizer in sides:
        for flag in database()[name].not_og_supported_flags[:1]:
            assert flag in optimizer.param_groups[0]
        optimizer.param_groups[0]["fused"] = None  # SGD's constructor says None, its loading False
    assert_same(*sides, **TOLERANCE[torch.float32])


@every_shared_class
def test_state_dict_is_left_as_it_was_and_repeats_itself(name: str) -> None:
    ours, _ = both(name)
    for settings in configurations(name):
        network, optimizer = trained(ours, **settings)
        saved = copy.deepcopy(optimizer.state_dict())
        given = copy.deepcopy(saved)
        twin = network_of(name, torch.float32)
        twin.params = [p.detach().clone().requires_grad_() for p in network.params]
        other = ours(twin.params, **settings)
        other.load_state_dict(given)
        same(given, saved)
        same(optimizer.state_dict(), other.state_dict())
        twin.train(other, 3)
        network.train(optimizer, 3)
        same(optimizer.state_dict(), other.state_dict())
        optimizer.param_groups.extend(optimizer.param_groups)
        groups = optimizer.state_dict()["param_groups"]
        assert groups[0] == groups[1]


@every_shared_class
def test_named_parameters(name: str) -> None:
    sides = []
    for cls in both(name):
        network = network_of(name, torch.float32)
        names = [f"layer.{i}" for i in range(len(network.params))]
        optimizer = cls(list(zip(names, network.params, strict=True)))
        network.train(optimizer, 3)
        assert optimizer.param_groups[0]["param_names"] == names
        plain = cls(network.params)
        plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # names -> no names
        network.train(plain, 3)
        optimizer.load_state_dict(copy.deepcopy(plain.state_dict()))  # and back
        network.train(optimizer, 3)
        sides.append((network, optimizer))
    assert_same(*sides, **TOLERANCE[torch.float32])


@every_shared_class
def test_hooks_around_saving_and_loading(name: str) -> None:
    ours, _ = both(name)
    _, optimizer = trained(ours)
    seen: list[str] = []

    def add_note(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "note": "kept"}

    def take_note(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        seen.append(state["note"])
        return {key: value for key, value in state.items() if key != "note"}

    optimizer.register_state_dict_pre_hook(lambda _: seen.append("saving"))
    optimizer.register_state_dict_post_hook(add_note)
    optimizer.register_load_state_dict_pre_hook(take_note)
    optimizer.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)
    assert seen == ["saving", "kept", "loaded"]


@every_shared_class
def test_step_hooks_may_replace_arguments_and_gradients(name: str) -> None:
    sides = []
    for cls in both(name):
        network = network_of(name, torch.float32)
        optimizer = cls(network.params)
        calls: list[Tensor] = []

        def counted(calls: list[Tensor] = calls, network: Network = network) -> Tensor:
            calls.append(network.closure())
            return calls[-1]

        def replace(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], new: Any = counted):
            return (args[0], new), kwargs  # torch hands hooks the optimizer as first argument

        optimizer.register_step_pre_hook(replace)
        for _ in range(4):
            assert optimizer.step(lambda: None) is calls[-1]
        assert len(calls) == 4
        sides.append((network, optimizer))
    assert_same(*sides, **TOLERANCE[torch.float32])


@every_shared_class
def test_copies_have_the_same_public_attributes(name: str) -> None:
    for settings in configurations(name):
        ours, _ = both(name)
        _, optimizer = trained(ours, **settings)
        public = {k for k in vars(optimizer) if not k.startswith("_")}
        other = copy.deepcopy(optimizer)
        assert public == {k for k in vars(other) if not k.startswith("_")}
        assert repr(other) == repr(optimizer)


@every_shared_class
def test_nothing_is_left_in_memory(name: str) -> None:
    ours, _ = both(name)
    network, optimizer = trained(ours)
    watched = [weakref.ref(optimizer), *map(weakref.ref, network.params)]
    gc.disable()  # reference counts alone must do it: cycles would keep the memory for a while
    try:
        del network, optimizer
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


@every_shared_class
def test_profiler_names_the_step(name: str) -> None:
    ours, _ = both(name)
    network, optimizer = trained(ours)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        network.train(optimizer, 2)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls[f"Optimizer.step#{name}.step"] == 2
    assert calls.get(f"Optimizer.zero_grad#{name}.zero_grad", 0) == 0


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a["param_groups"] == b["param_groups"]
    torch.testing.assert_close(a["state"], b["state"], rtol=0, atol=0)
