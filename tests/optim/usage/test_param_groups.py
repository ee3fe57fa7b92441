"""Groups are the optimizer's own, and say the same as its state dict."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

import adamantine
from adamantine.errors import UsageError
from contract import parameters, train
from named_cases import saved, trained

OPTIONS: list[dict[str, Any]] = [
    {},
    {"state_dtype": "int8"},
    {"state_dtype": MappingProxyType({"exp_avg": "bfloat16"})},
    {"param_rounding": "kahan"},
    {"master": "24bit"},
    {"sparse": "exact"},
    {"cautious": True},
]
some_options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "none")


def layer() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))


# What is given is copied


def test_one_list_of_groups_serves_several_optimizers() -> None:
    groups = adamantine.no_decay(layer(), 0.1)
    before = [dict(group) for group in groups]
    first = adamantine.AdamW(groups, lr=1e-2, state_dtype="int8", max_grad_norm=1.0)
    second = adamantine.AdamW(groups, lr=1e-3)
    third = adamantine.SGD(groups, lr=1e-1, momentum=0.9)
    assert [group["lr"] for group in first.param_groups] == [1e-2, 1e-2]
    assert [group["lr"] for group in second.param_groups] == [1e-3, 1e-3]
    assert [group["momentum"] for group in third.param_groups] == [0.9, 0.9]
    assert not any("state_dtype" in group or "betas" in group for group in third.param_groups)
    assert not any("state_dtype" in group for group in second.param_groups)
    assert [dict(group) for group in groups] == before


def test_what_is_mutable_in_a_group_is_copied_and_a_tensor_is_not() -> None:
    rate, kept, betas, mine = torch.tensor(0.1), {"exp_avg": "bfloat16"}, [0.9, 0.99], [1, [2]]
    a, b, c = parameters(3, 3, 3)
    given = {"params": [a], "lr": rate, "state_dtype": kept, "betas": betas, "mine": mine}
    optimizer = adamantine.Adam([given, {"params": [b]}], state_dtype=kept)
    optimizer.add_param_group({"params": c})
    kept["exp_avg"], betas[0] = "int8", 0.5
    given["params"].append(c)
    mine[1].append(3)
    groups = optimizer.param_groups
    assert groups[0]["lr"] is rate
    assert groups[0]["mine"] == [1, [2]]
    assert groups[0]["betas"] == [0.9, 0.99]
    assert [group["state_dtype"] for group in groups] == [{"exp_avg": "bfloat16"}] * 3
    assert len(groups[0]["params"]) == 1
    groups[1]["state_dtype"]["exp_avg"] = "float32"
    assert groups[2]["state_dtype"] == optimizer.defaults["state_dtype"] == {"exp_avg": "bfloat16"}


@pytest.mark.parametrize("pairs", [False, True])
def test_an_iterator_over_parameters_is_kept_as_a_list(pairs: bool) -> None:
    """It can be read once; torch leaves a list there, too."""
    net = layer()
    groups = [{"params": net.named_parameters() if pairs else net.parameters()}]
    first, second = adamantine.Adam(groups), adamantine.Adam(groups)
    for optimizer in (first, second):
        own = optimizer.param_groups[0]
        assert all(a is b for a, b in zip(own["params"], net.parameters(), strict=True))
        assert ("param_names" in own) == pairs
    assert list(groups[0]) == ["params"]


@pytest.mark.parametrize("name", ["Adam", "AdamWScheduleFree", "Prodigy", "Muon", "SOAP"])
def test_so_it_is_where_groups_get_more_settings(name: str) -> None:
    """Also in the second group, which may have some of the first."""
    matrices = parameters((3, 3), (2, 2))
    groups: list[dict[str, Any]] = [{"params": iter([matrix])} for matrix in matrices]
    if name == "Prodigy":
        groups[0]["d0"] = 1e-3
    for _ in range(2):
        optimizer = getattr(adamantine, name)(groups)
        found = [group["params"] for group in optimizer.param_groups]
        assert [[id(p) for p in params] for params in found] == [[id(m)] for m in matrices]


def test_a_group_that_is_refused_is_left_as_it_was() -> None:
    params = parameters(3)
    optimizer = adamantine.Adam(params)
    for wrong in ({"params": params}, {"params": parameters(2), "lr": -1.0}):
        before = dict(wrong)
        with pytest.raises(ValueError, match=r"more than one param|Invalid learning rate"):
            optimizer.add_param_group(wrong)
        assert wrong == before
    with pytest.raises(UsageError, match="unknown sparse='fast'"):
        optimizer.add_param_group({"params": parameters(2), "sparse": "fast"})
    assert len(optimizer.param_groups) == 1


def test_the_state_dict_has_settings_of_its_own() -> None:
    optimizer = trained(parameters(5), state_dtype={"exp_avg": "bfloat16"}, betas=(0.8, 0.9))
    state = optimizer.state_dict()
    state["param_groups"][0]["state_dtype"]["exp_avg"] = "int8"
    state["param_groups"][0]["lr"] = 5.0
    group = optimizer.param_groups[0]
    assert (group["state_dtype"], group["lr"]) == ({"exp_avg": "bfloat16"}, 1e-3)
    # Its tensors are the live ones, as torch's.
    assert state["state"][0]["exp_avg"] is optimizer.state[group["params"][0]]["exp_avg"]


# Both sides say the same


@some_options
def test_a_group_and_its_state_dict_have_the_same_settings(options: dict[str, Any]) -> None:
    optimizer = adamantine.AdamW(parameters(5), **options)
    group, state = optimizer.param_groups[0], optimizer.state_dict()["param_groups"][0]
    assert type(group) is type(state) is dict  # torch.compile takes no other
    assert group.keys() == state.keys()
    assert all(group[key] == state[key] for key in group.keys() - {"params"})
    theirs = torch.optim.AdamW(parameters(5)).param_groups[0]
    assert group.keys() - theirs.keys() == options.keys()


@some_options
def test_what_says_how_stays_as_it_is_whatever_is_loaded(options: dict[str, Any]) -> None:
    """Of three checkpoints: with the settings, without them, and with others."""
    sources = [
        adamantine.AdamW(parameters(5), lr=0.5, **options),
        torch.optim.AdamW(parameters(5), lr=0.5),
        adamantine.AdamW(parameters(5), lr=0.5, state_dtype="bfloat16", sparse="lazy"),
    ]
    for source in sources:
        train(source, source.param_groups[0]["params"], 2)
        for own in ({"lr": 0.1}, {"lr": 0.1, **options}):
            params = parameters(5)
            other = adamantine.AdamW([{"params": params, **own}])
            kept = {key: other.param_groups[0].get(key) for key in options if key != "cautious"}
            other.load_state_dict(saved(source))
            group = other.param_groups[0]
            assert group["lr"] == 0.5
            assert {key: group.get(key) for key in kept} == kept
            cautious = {**own, **saved(source)["param_groups"][0]}.get("cautious")
            assert group.get("cautious") == cautious
            assert type(group) is dict
            train(other, params, 1)


# Numbers of NumPy's


@pytest.mark.parametrize("compact", [False, True])
def test_settings_are_saved_as_pythons_numbers(compact: bool) -> None:
    params = parameters(5)
    given: dict[str, Any] = {
        "lr": np.float64(0.1),
        "betas": (np.float64(0.9), np.float64(0.99)),
        "eps": np.array(1e-8),
        "weight_decay": np.float32(0.5),
        "amsgrad": np.bool_(False),
        "state_dtype": {np.str_("exp_avg"): np.str_("int8")},
        "mine": [np.int64(3), {"deep": np.longdouble(0.25)}],
    }
    optimizer = adamantine.Adam([{"params": params, **given}])
    train(optimizer, params, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: np.cos(step / 10))
    train(optimizer, params, 1)
    schedule.step()
    (group,) = optimizer.state_dict(compact=compact)["param_groups"]
    assert group["lr"] == 0.1 * np.cos(0.1)
    for name in given.keys() - {"lr", "mine"}:
        assert group[name] == given[name]
    assert group["mine"] == [3, {"deep": 0.25}]

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {k for pair in value.items() for each in pair for k in kinds(each)}
        return set(map(type, value)) if isinstance(value, list | tuple) else {type(value)}

    assert kinds(group) <= {bool, int, float, str, type(None), dict}
    restored = adamantine.Adam(parameters(5), state_dtype="int8")
    restored.load_state_dict(saved(optimizer))
    assert restored.param_groups[0]["lr"] == group["lr"]
