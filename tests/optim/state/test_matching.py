"""Whose state is whose: by name where there are names, with other layers frozen, and in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import adamantine
from adamantine.errors import StateError, UsageError
from contract import parameters, train
from named_cases import assert_states_by_name, by_name, named, saved, trained


@pytest.mark.parametrize("order", ["cba", "bca", "abc"])
def test_states_go_by_name_when_the_order_differs(order: str) -> None:
    before = trained(named("a", "b", "c"))
    after = adamantine.Adam(named(*order))
    after.load_state_dict(saved(before))
    assert_states_by_name(after, before)
    assert after.param_groups[0]["param_names"] == list(order)


def test_groups_in_another_order_keep_their_settings() -> None:
    a, b, c = named("a", "b", "c")
    before = trained([{"params": [a], "lr": 0.1}, {"params": [b, c], "lr": 0.2}])
    c, b, a = named("c", "b", "a", seed=5)
    after = adamantine.Adam([{"params": [c, b]}, {"params": [a]}])
    after.load_state_dict(saved(before))
    assert_states_by_name(after, before)
    assert [g["lr"] for g in after.param_groups] == [0.2, 0.1]


def test_without_names_on_one_side_the_order_counts() -> None:
    before = trained(named("a", "b"))
    after = adamantine.Adam([p for _, p in named("b", "a")])
    after.load_state_dict(saved(before))
    assert torch.equal(
        after.state_dict()["state"][0]["exp_avg"], before.state_dict()["state"][0]["exp_avg"]
    )
    assert after.param_groups[0]["param_names"] == ["a", "b"]  # as torch does


WRAPPED = (
    "module.a",
    "module.module.a",
    "_orig_mod.a",
    "module._orig_mod.a",
    "_fsdp_wrapped_module.a",
    "_fsdp_wrapped_module._checkpoint_wrapped_module.a",
    "_forward_module.module.a",
)


@pytest.mark.parametrize("there", WRAPPED)
def test_names_of_wrappers_do_not_count_wherever_they_are(there: str) -> None:
    inside = f"block.{there.replace('.a', '.b')}"
    for names, others in (((there, inside), ("block.b", "a")), (("a", "block.b"), (inside, there))):
        before = trained(named(*names))
        after = adamantine.Adam(named(*others))
        after.load_state_dict(saved(before))
        (a, b), (b_after, a_after) = by_name(before).values(), by_name(after).values()
        assert torch.equal(a["exp_avg"], a_after["exp_avg"])
        assert torch.equal(b["exp_avg"], b_after["exp_avg"])
        assert after.param_groups[0]["param_names"] == list(others)


def test_a_part_called_module_is_a_name_like_others_where_it_tells_two_apart() -> None:
    names = ("enc.module.w", "enc.w", "my_module.w", "a-module.w", "w")
    before = trained(named(*names))
    after = adamantine.Adam(named(*(f"module._orig_mod.{n}" for n in reversed(names))))
    after.load_state_dict(saved(before))
    for (_, a), (_, b) in zip(
        by_name(before).items(), reversed(by_name(after).items()), strict=True
    ):
        assert torch.equal(a["exp_avg"], b["exp_avg"])


# Other layers frozen than then


@pytest.mark.parametrize("cls", [adamantine.Adam, adamantine.Adagrad, adamantine.SGD])
def test_thawed_parameters_start_fresh_where_that_is_asked_for(cls: Any) -> None:
    settings = {"momentum": 0.9} if cls is adamantine.SGD else {}
    head = cls(named("c", "d"), lr=0.5, **settings)
    train(head, head.param_groups[0]["params"], 3)
    after = cls(named("a", "c", "b", "d"), lr=0.1, **settings)
    with pytest.raises(UsageError, match="it lacks 'a', 'b'; strict=False lets what it lacks star"):
        after.load_state_dict(saved(head))
    after.load_state_dict(saved(head), strict=False)
    assert after.param_groups[0]["lr"] == 0.5
    states, before = by_name(after), by_name(head)
    for name in "cd":
        assert all(torch.equal(states[name][key], before[name][key]) for key in before[name])
    # From here on, new parameters are those of a new optimizer, and old ones those that went on.
    params = dict(zip("acbd", after.param_groups[0]["params"], strict=True))
    twins = {name: torch.nn.Parameter(p.detach().clone()) for name, p in params.items()}
    fresh = cls([twins["a"], twins["b"]], lr=0.5, **settings)
    gone_on = cls([("c", twins["c"]), ("d", twins["d"])], **settings)
    gone_on.load_state_dict(saved(head))
    for step in range(3):
        for name in "acbd":
            grad = torch.full((3, 2), 0.1 * (step + ord(name) - 96))
            params[name].grad, twins[name].grad = grad, grad.clone()
        for optimizer in (after, fresh, gone_on):
            optimizer.step()
    assert all(torch.equal(params[name], twins[name]) for name in "acbd")


def test_what_is_frozen_now_is_left_out_where_that_is_asked_for() -> None:
    before = trained(named("a", "b", "c"))
    after = adamantine.Adam(named("c", "b"))
    with pytest.raises(UsageError, match="'a'; strict=False leaves out what the optimizer does no"):
        after.load_state_dict(saved(before))
    after.load_state_dict(saved(before), strict=False)
    expected = by_name(before)
    for name, state in by_name(after).items():
        assert torch.equal(state["exp_avg"], expected[name]["exp_avg"])
    assert len(after.state) == 2


def test_a_group_of_new_parameters_keeps_its_settings() -> None:
    before = trained(named("b"), lr=0.5)
    a, b = named("a", "b")
    after = adamantine.Adam([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.2}])
    after.load_state_dict(saved(before), strict=False)
    assert [group["lr"] for group in after.param_groups] == [0.1, 0.5]
    assert [group["param_names"] for group in after.param_groups] == [["a"], ["b"]]
    assert not after.state.get(a[1])
    other = torch.optim.Adam([{"params": [b, a], "lr": 0.1}])
    other.load_state_dict(adamantine.regroup(saved(before), other, strict=False))
    assert other.param_groups[0]["lr"] == 0.1
    assert list(by_name(other)["b"]) == ["step", "exp_avg", "exp_avg_sq"]
    assert by_name(other)["a"] == {}


def test_settings_that_are_unclear_are_refused_there_too() -> None:
    before = trained(named("a", "b", "c"))
    a, b, d = named("a", "b", "d")
    split = adamantine.Adam([{"params": [a, d]}, {"params": [b]}])
    with pytest.raises(UsageError, match=r"group 0 in .*regroup\(state_dict, optimizer, strict=F"):
        split.load_state_dict(saved(before), strict=False)
    split.load_state_dict(adamantine.regroup(saved(before), split, strict=False), strict=False)
    assert torch.equal(by_name(split)["b"]["exp_avg"], by_name(before)["b"]["exp_avg"])
    with pytest.raises(UsageError, match="does not have 'a', 'b', 'c'; it is the state of another"):
        adamantine.Adam(named("x", "y")).load_state_dict(saved(before), strict=False)


def test_without_names_the_error_says_how_to_come_by_them() -> None:
    before = saved(trained(parameters((3, 2))))
    after = adamantine.Adam(named("a", "b"))
    for strict in (True, False):
        with pytest.raises(UsageError, match=r"strict=False, .* by names: give each group of the"):
            after.load_state_dict(before, strict=strict)
    before["param_groups"][0]["param_names"] = ["b"]
    with pytest.raises(UsageError, match=r"names: build the optimizer from model\.named_param"):
        adamantine.Adam(parameters(3, 3)).load_state_dict(before)
    after.load_state_dict(before, strict=False)
    assert torch.equal(by_name(after)["b"]["exp_avg"], before["state"][0]["exp_avg"])
    assert not by_name(after)["a"]


# Somebody has changed what the groups hold


def replaced(optimizer: Any) -> None:
    optimizer.param_groups[0]["params"][1] = parameters((3, 2), seed=9)[0]


@pytest.mark.parametrize(
    ("pairs", "who"), [(True, "parameter 'b'"), (False, "parameter 1 of group 0")]
)
@pytest.mark.parametrize("save", [lambda o: o.state_dict(), lambda o: o.state_dict(compact=True)])
def test_a_parameter_that_was_replaced_is_named(
    pairs: bool, who: str, save: Callable[[Any], Any]
) -> None:
    params = named("a", "b", "c")
    optimizer = trained(params if pairs else [param for _, param in params])
    old = params[1][1]
    replaced(optimizer)
    with pytest.raises(StateError, match=rf"shape \(3, 2\)\).*without a state is {who}\. Build"):
        save(optimizer)
    new = optimizer.param_groups[0]["params"][1]
    optimizer.state[new] = optimizer.state.pop(old)
    assert len(save(optimizer)["state"]) == 3


def test_one_that_was_replaced_before_any_state_or_loaded_over_is_no_error() -> None:
    optimizer = adamantine.SGD(named("a", "b"), sparse="exact", momentum=0.9)
    replaced(optimizer)
    train(optimizer, optimizer.param_groups[0]["params"], 1)
    state = saved(optimizer)
    replaced(optimizer)
    optimizer.flush()
    optimizer.load_state_dict(state)
    assert len(optimizer.state_dict()["state"]) == 2


def test_names_that_somebody_forgot_are_told() -> None:
    optimizer = trained(named("a", "b"))
    state = saved(optimizer)
    optimizer.param_groups[0]["params"].append(parameters((3, 2))[0])
    with pytest.raises(UsageError, match="group 0 of the optimizer has 3 parameters and 2 names"):
        optimizer.load_state_dict(state)
    other = adamantine.Adam(named("a", "b"))
    with pytest.raises(UsageError, match="group 0 of the state dict has 3 parameters and 2 names"):
        other.load_state_dict(optimizer.state_dict())
    new = optimizer.param_groups[0]["params"][2]
    new.grad = torch.ones(3, 2)
    optimizer.state[new]["exp_avg"] = torch.ones(5)
    with pytest.raises(StateError, match="of parameter 2 of group 0 is"):
        optimizer.step()


def test_regroup_takes_states_by_name_and_leaves_settings() -> None:
    before = trained(named("a", "b", "c"), lr=0.5)
    c, b, a = named("c", "b", "a", seed=5)
    after = adamantine.Adam([{"params": [c, a], "lr": 0.1}, {"params": [b], "lr": 0.2}])
    with pytest.raises(UsageError, match=r"group 0 in other groups.*adamantine\.regroup"):
        after.load_state_dict(saved(before))
    after.load_state_dict(adamantine.regroup(saved(before), after))
    assert_states_by_name(after, before)
    assert [g["lr"] for g in after.param_groups] == [0.1, 0.2]


def test_regroup_serves_torchs_optimizers() -> None:
    before = trained(named("a", "b"))
    b, a = named("b", "a")
    after = torch.optim.Adam([{"params": [b]}, {"params": [a]}])
    after.load_state_dict(adamantine.regroup(saved(before), after))
    assert_states_by_name(after, before)


def test_regroup_needs_names_on_both_sides() -> None:
    bare = adamantine.Adam(parameters(3))
    with pytest.raises(UsageError, match="the state dict has no parameter names"):
        adamantine.regroup(bare.state_dict(), adamantine.Adam(named("a")))
    with pytest.raises(UsageError, match="the optimizer has no parameter names"):
        adamantine.regroup(adamantine.Adam(named("a")).state_dict(), bare)
