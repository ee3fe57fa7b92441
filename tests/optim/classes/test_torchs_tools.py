"""What torch builds on state dicts: flat and full checkpoints, swapped states, optimizers by name.

Torch's own tests look at these; the oracle is a plain ``load_state_dict``, or torch's class.
"""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import adamantine
from adamantine.optim.by_name import OPTIMIZERS
from cases import theirs_of
from contract import clones, train

Optimizer = torch.optim.Optimizer

every_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda c: c.__name__)
# One that torch has, one without a step count, and one that torch has not; the others are slow.
FIRST = (adamantine.AdamW, adamantine.SGD, adamantine.Lion)
every_option_of_each = pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, id=cls.__name__, marks=[] if cls in FIRST else [pytest.mark.slow])
        for cls in OPTIMIZERS.values()
    ],
)


@pytest.fixture(scope="module")
def tools() -> SimpleNamespace:
    if not torch.distributed.is_available():
        pytest.skip("this build of torch has no torch.distributed")
    with warnings.catch_warnings():
        # Said by torch.distributed when it is imported.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.distributed.checkpoint import state_dict
        from torch.distributed.optim import (
            _apply_optimizer_in_backward,
            _get_in_backward_optimizers,
            _NamedOptimizer,
        )
    return SimpleNamespace(
        get=state_dict.get_optimizer_state_dict,
        set=state_dict.set_optimizer_state_dict,
        options=state_dict.StateDictOptions,
        NamedOptimizer=_NamedOptimizer,
        apply_in_backward=_apply_optimizer_in_backward,
        in_backward_optimizers=_get_in_backward_optimizers,
    )


def network(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).to(dtype)


def built(cls: Any, net: torch.nn.Module, steps: int = 2, **settings: Any) -> Any:
    params = list(net.parameters())
    # Two groups, and a parameter in each whose neighbour is in the other.
    lr = 0.0 if cls.__name__ == "Prodigy" else 0.25  # which has one for all that move
    rest = {"algorithm": "adamw"} if cls.__name__ == "Muon" else {}  # the biases
    groups = [{"params": params[::2], "lr": lr}, {"params": params[1::2], **rest}]
    optimizer = cls(groups, **settings)
    train(optimizer, params, steps)
    optimizer.zero_grad()
    return optimizer


def through_file(state: dict[str, Any]) -> dict[str, Any]:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def options_of(cls: Any) -> list[dict[str, Any]]:
    """Every option of a group, in each kind of value, and some that are none of a group."""
    half = torch.bfloat16
    options: list[dict[str, Any]] = [
        {},
        {"state_dtype": "int8"},
        {"state_dtype": "bfloat16"},
        {"state_dtype": "float32", "dtype": half},
        {"param_rounding": "kahan", "dtype": half},
        {"param_rounding": "stochastic", "dtype": half, "state_dtype": "int8"},
        {"master": "float32", "dtype": half},
        {"master": "24bit", "dtype": half, "state_dtype": "int8"},
        {"max_grad_norm": 1.0, "skip_nonfinite": True, "collect_stats": True, "zero_grad": True},
    ]
    rule = cls.family.select({**cls([torch.zeros(1, 1)]).defaults})
    if rule.exact:
        options = [_without_exact(rule, given) for given in options]
    if roundable := [name for name in rule.states if name not in {*rule.exact, *rule.shapes}]:
        options.append({"state_dtype": {roundable[0]: "bfloat16"}})
    taken = inspect.signature(cls).parameters
    options += [{"sparse": mode} for mode in ("lazy", "exact") if "sparse" in taken]
    return options + ([{"cautious": True}] if "cautious" in taken else [])


def _without_exact(rule: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The same for the states that may be rounded."""
    dtype = options.get("state_dtype")
    if dtype in (None, "float32"):
        return options
    names = [name for name in rule.states if name not in rule.exact]
    rest = {key: value for key, value in options.items() if key != "state_dtype"}
    return {**rest, "state_dtype": dict.fromkeys(names, dtype)} if names else rest


ONE_SIDED = ("compensation", "master", "step")
"""What rounding keeps beside an algorithm's own states: only a side that rounds has it."""


def states(optimizer: Any, without: tuple[str, ...]) -> list[dict[str, Any]]:
    """By parameter, in the order of the groups; torch's tools leave an empty one where is none."""
    entries = optimizer.state_dict()["state"].values()
    found = [{k: v for k, v in entry.items() if k not in without} for entry in entries]
    return [entry for entry in found if entry]


def assert_same_states(a: Optimizer, b: Optimizer, without: tuple[str, ...] = ()) -> None:
    for one, other in zip(states(a, without), states(b, without), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key].to(one[key].dtype)) for key in one)


# torch.distributed.checkpoint


@every_option_of_each
def test_every_option_goes_through_flat_and_nested_checkpoints(cls: Any, tools: Any) -> None:
    """To the same options, to none, to torch's class, and back from it."""
    theirs = theirs_of(cls.__name__)
    for given in options_of(cls):
        dtype = given.get("dtype", torch.float32)
        options = {key: value for key, value in given.items() if key != "dtype"}
        ours, plain = {"backend": "reference", **options}, {"backend": "reference"}
        rounded = options.get("state_dtype") in ("int8", "bfloat16") or "param_rounding" in options
        for first, before, second, after in (
            (cls, ours, cls, ours),
            (cls, ours, cls, plain),
            (cls, plain, cls, ours),
            (cls, ours, theirs, {}),
            (theirs, {}, cls, ours),
        ):
            if cls.__name__ == "Muon" and theirs in (first, second):
                continue  # torch's takes no biases
            without = () if before is after else ONE_SIDED
            net = network(dtype)
            source = built(first, net, **before)
            expected = built(second, copy.deepcopy(net), 0, **after)
            expected.load_state_dict(through_file(source.state_dict()))
            if not rounded and not isinstance(options.get("state_dtype"), dict):
                assert_same_states(expected, source, without)
            for flat in (False, True):
                way = tools.options(flatten_optimizer_state_dict=flat)
                other = copy.deepcopy(net)
                sink = built(second, other, 0, **{**after, "lr": 0.125})
                saved = through_file(tools.get(net, source, options=way))
                if flat and after is ours and before is not ours:
                    # torch wants a value for each setting that the optimizer has.
                    saved = {**tools.get(other, sink, options=way), **saved}
                tools.set(other, sink, saved, options=way)
                assert_same_states(sink, expected, without)
                assert_same_settings(sink, expected)
                train(sink, list(other.parameters()), 1)


def assert_same_settings(a: Optimizer, b: Optimizer) -> None:
    for group, other in zip(a.param_groups, b.param_groups, strict=True):
        shared = group.keys() & other.keys() - {"params"}
        assert "lr" in shared
        assert all(group[key] == other[key] for key in shared)


@pytest.fixture
def one_process() -> Iterator[None]:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("options", [{}, {"state_dtype": "int8"}, {"cautious": True}], ids=str)
def test_a_model_in_ddp_is_saved_and_loaded_under_its_own_names(options: Any, tools: Any) -> None:
    for switches in (
        {"flatten_optimizer_state_dict": True},
        {"full_state_dict": True},
        {"full_state_dict": True, "cpu_offload": True},
        {"full_state_dict": True, "broadcast_from_rank0": True},
    ):
        way = tools.options(**switches)
        results = []
        for cls, own in ((torch.optim.AdamW, {}), (adamantine.AdamW, options)):
            net = DistributedDataParallel(network())
            source = built(cls, net, **own)
            found = tools.get(net, source, options=way)
            names = {key.split(".")[1] for key in found} if "state" not in found else {"0"}
            assert "module" not in names
            other = DistributedDataParallel(network())
            sink = built(cls, other, 1, **own)
            tools.set(other, sink, through_file(found), options=way)
            if own.get("state_dtype") is None:
                assert_same_states(sink, source)
            results.append((other, sink))
        for net, optimizer in results:
            assert [group["lr"] for group in optimizer.param_groups] == [0.25, 1e-3]
            net(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        if not options:
            (a, _), (b, _) = results
            torch.testing.assert_close(list(a.parameters()), list(b.parameters()))


# torch.optim._stateless


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"state_dtype": "int8"},
        {"param_rounding": "kahan"},
        {"sparse": "lazy"},
        {"cautious": True},
    ],
    ids=lambda o: "-".join(o) or "none",
)
@pytest.mark.parametrize("backend", ["auto", "lists", "reference"])
def test_parameters_and_state_can_be_swapped_for_a_while(options: Any, backend: str) -> None:
    if backend == "lists" and "state_dtype" in options:
        pytest.skip("lists take no codes")
    stateless = pytest.importorskip("torch.optim._stateless")  # of torch 2.13
    net = network()
    optimizer = built(adamantine.AdamW, net, backend=backend, **options)
    before = copy.deepcopy(optimizer.state_dict(compact=True))
    lists = [group["params"] for group in optimizer.param_groups]
    weights = clones(list(net.parameters()))
    others = {str(i): p for i, p in enumerate(clones([p for ps in lists for p in ps]))}
    state = copy.deepcopy(before)
    # What it has to become: a copy of all, stepped.
    twin_net, twin = copy.deepcopy((net, optimizer))
    for side in (others.values(), [p for group in twin.param_groups for p in group["params"]]):
        for param in side:
            param.grad = torch.full_like(param, 0.5)
    with stateless.swap_in_optimizer_params_and_state(optimizer, others, state):
        assert optimizer.param_groups[0]["params"][0] is others["0"]
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 5.0
    twin.step()
    swapped = [p for group in twin.param_groups for p in group["params"]]
    assert all(map(torch.equal, others.values(), swapped))
    after = twin.state_dict(compact=True)
    for key, entry in state["state"].items():
        assert all(torch.equal(value, after["state"][key][name]) for name, value in entry.items())
    # And all is as it was.
    assert [group["params"] for group in optimizer.param_groups] == lists
    assert all(map(torch.equal, net.parameters(), weights))
    assert optimizer.state_dict(compact=True)["param_groups"] == before["param_groups"]
    for key, entry in optimizer.state_dict(compact=True)["state"].items():
        assert all(torch.equal(value, before["state"][key][name]) for name, value in entry.items())
    for param, copied in zip(net.parameters(), twin_net.parameters(), strict=True):
        param.grad = torch.full_like(param, 0.5)
        assert copied.shape == param.shape
    optimizer.step()
    assert all(map(torch.equal, net.parameters(), twin_net.parameters()))


# torch.distributed.optim


def both_sides(check: Callable[[Any], list[Any]]) -> None:
    """The same numbers of ours as of torch's."""
    ours, theirs = check(adamantine), check(torch.optim)
    torch.testing.assert_close(ours, theirs)


def test_an_optimizer_by_name_saves_loads_and_grows(tools: Any) -> None:
    def check(module: Any) -> list[Any]:
        def named(net: torch.nn.Module, momentum: float) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # groups, not all parameters
                return tools.NamedOptimizer(
                    net.named_parameters(),
                    module.SGD,
                    [{"params": net[0].parameters()}, {"params": net[1].weight, "lr": 0.25}],
                    lr=0.125,
                    momentum=momentum,
                )

        net, other = network(), network()
        first, second = named(net, 0.9), named(other, 0.5)
        with pytest.raises(ValueError, match="not initialized"):
            second.load_state_dict(first.state_dict())
        for optimizer in (first, second):
            assert not optimizer.state_dict()["state"]
            optimizer.init_state()
            assert "momentum_buffer" in optimizer.state_dict()["state"]["0.weight"]
        train(first, list(net.parameters()), 2)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        assert second.state_dict()["param_groups"][0]["momentum"] == 0.9
        with pytest.raises(ValueError, match="not in the module"):
            first.add_param_group({"params": [torch.ones(2)]})
        for optimizer, model in ((first, net), (second, other)):
            optimizer.add_param_group({"params": model[1].bias, "lr": 0.5})
            train(optimizer, list(model.parameters()), 2)
        assert list(first.state_dict()["state"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
        assert [g["lr"] for g in first.param_groups] == [0.125, 0.25, 0.5]
        return [*net.parameters(), *other.parameters()]

    both_sides(check)


@pytest.mark.filterwarnings("ignore:.*found no gradient")  # the first one's hook has taken it
def test_optimizers_that_torch_applies_in_backward(tools: Any) -> None:
    """One for the weights, of which two are one, one for the biases, and a second for all."""

    def check(module: Any) -> list[Any]:
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        net[0].weight = net[1].weight
        quiet = copy.deepcopy(net)
        tools.apply_in_backward(module.SGD, [net[0].weight], {"lr": 0.1})
        tools.apply_in_backward(module.AdamW, [net[0].bias, net[1].bias], {"lr": 0.05})
        tools.apply_in_backward(module.SGD, net.parameters(), {"lr": 0.01, "momentum": 0.9})
        tools.apply_in_backward(module.SGD, quiet.parameters(), {"lr": 1.0}, register_hook=False)
        assert len(tools.in_backward_optimizers(net)) == 6
        start = clones(list(quiet.parameters()))
        for _ in range(4):
            for model in (net, quiet):
                model(torch.linspace(-1, 1, 8).reshape(2, 4)).square().sum().backward()
            assert all(param.grad is None for param in net.parameters())
        assert all(map(torch.equal, start, quiet.parameters()))
        return list(net.parameters())

    both_sides(check)


# Whose tensors are whose


@pytest.mark.parametrize("module", [adamantine, torch.optim], ids=["ours", "torch"])
def test_entries_that_are_one_tensor_stay_one_when_saved(module: Any) -> None:
    net = network()
    optimizer = built(module.SGD, net, momentum=0.9)
    for entry in optimizer.state.values():
        entry["alias"] = entry["momentum_buffer"]
    for state in (optimizer.state_dict(), through_file(optimizer.state_dict())):
        for entry in state["state"].values():
            assert entry["alias"].data_ptr() == entry["momentum_buffer"].data_ptr()
    other = built(module.SGD, copy.deepcopy(net), 0, momentum=0.9)
    other.load_state_dict(through_file(optimizer.state_dict()))
    for entry in other.state.values():
        assert torch.equal(entry["alias"], entry["momentum_buffer"])


@every_optimizer
def test_optimizers_that_loaded_one_file_do_not_share_it(cls: Any) -> None:
    """Nor does one that loaded a copy share anything with the one that it is of."""
    net = network()
    source = built(cls, net, backend="reference")
    before = copy.deepcopy(source.state_dict())
    other = copy.deepcopy(net)
    sink = built(cls, other, 0, backend="reference")
    sink.load_state_dict(copy.deepcopy(source.state_dict()))
    train(sink, list(other.parameters()), 3, seed=5)
    sink.param_groups[0]["lr"] = 9.0
    now = source.state_dict()
    assert now["param_groups"] == before["param_groups"]
    for key, entry in before["state"].items():
        assert all(torch.equal(value, now["state"][key][name]) for name, value in entry.items())
