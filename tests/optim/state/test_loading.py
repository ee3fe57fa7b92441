"""Loading states: in which dtype they stay, and nothing changed on error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import StateError, UsageError
from cases import Case
from contract import clones, every_case, one_case_of_each_number_of_states, parameters, train
from named_cases import named, saved, trained

# What is refused, with nothing changed


def _reshape(state: dict[str, Any]) -> None:
    state["state"][1]["exp_avg"] = torch.zeros(2, 3)


def _to_codes(state: dict[str, Any]) -> None:
    state["state"][1]["exp_avg_sq"] = torch.zeros(3, 2, dtype=torch.uint8)


def _to_complex(state: dict[str, Any]) -> None:
    state["state"][1]["exp_avg"] = torch.zeros(3, 2, dtype=torch.complex64)


def _forget(state: dict[str, Any]) -> None:
    del state["state"][1]["exp_avg_sq"]


def _many_steps(state: dict[str, Any]) -> None:
    state["state"][1]["step"] = torch.ones(2)


def _no_tensor(state: dict[str, Any]) -> None:
    state["state"][1]["exp_avg"] = [0.0]


def _shorten(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"].pop()
    del state["param_groups"][0]["param_names"]


def _add_group(state: dict[str, Any]) -> None:
    state["param_groups"].append({"params": [], "param_names": []})
    del state["param_groups"][0]["param_names"]


def _rename(state: dict[str, Any]) -> None:
    state["param_groups"][0]["param_names"] = ["a", "x"]


def _rename_alike(state: dict[str, Any]) -> None:
    state["param_groups"][0]["param_names"] = ["a", "a"]


def _unsettle(state: dict[str, Any]) -> None:
    state["param_groups"][0]["lr"] = -1.0


def _wrap(state: dict[str, Any]) -> None:
    state["optimizer"] = {"state": state.pop("state")}


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_reshape, StateError, r"'exp_avg' of parameter 'b' is of shape \(2, 3\), .* \(3, 2\)"),
        (_to_codes, StateError, r"'exp_avg_sq' of parameter 'b' is torch.uint8"),
        (_to_complex, StateError, r"'exp_avg' of parameter 'b' is torch.complex64"),
        (_forget, StateError, "state of parameter 'b' has step, exp_avg and lacks exp_avg_sq"),
        (_many_steps, StateError, r"'step' of parameter 'b' has shape \(2,\)"),
        (_no_tensor, StateError, r"'exp_avg' of parameter 'b' is \[0.0\]"),
        (_shorten, ValueError, "doesn't match the size of optimizer's group: group 0 has 1 param"),
        (_add_group, ValueError, "different number of parameter groups: 2, and the optimizer has"),
        (_rename, UsageError, "it lacks 'b' and the optimizer does not have 'x'; if they are the"),
        (_rename_alike, UsageError, "the state dict has two parameters called 'a'"),
        (_unsettle, ValueError, "Invalid learning rate: -1"),
        (_wrap, UsageError, "got one with 'param_groups', 'optimizer'; of a whole checkpoint"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    spoil: Callable[[dict[str, Any]], None], error: type[Exception], message: str
) -> None:
    state = saved(trained(named("a", "b"), steps=5))
    spoil(state)
    optimizer = trained(named("a", "b"))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for index, entry in before["state"].items():
        assert all(torch.equal(entry[key], after["state"][index][key]) for key in entry)


def test_parameters_without_names_are_called_by_their_place() -> None:
    params = parameters(3, 4, 5)
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    state = saved(trained(groups))
    state["state"][2]["exp_avg"] = torch.zeros(4)
    with pytest.raises(StateError, match=r"'exp_avg' of parameter 1 of group 1 is of shape \(4,\)"):
        adamantine.Adam(groups).load_state_dict(state)


def test_the_state_of_another_algorithm_is_refused() -> None:
    params = parameters(3)
    sgd = adamantine.SGD(params, momentum=0.9)
    train(sgd, params, 1)
    with pytest.raises(StateError, match="has momentum_buffer and lacks step, exp_avg, exp_avg_sq"):
        adamantine.Adam(params).load_state_dict(saved(sgd))


# What older versions of torch wrote


@every_case
@pytest.mark.parametrize("count", [int, float], ids=["int", "float"])
def test_steps_as_numbers_and_groups_without_newer_settings(
    case: Case, count: Callable[[Any], int | float]
) -> None:
    start = parameters(6, (2, 3))
    params = clones(start)
    before = case.theirs(params, **case.settings)
    train(before, params, 3)
    state = saved(before)
    for entry in state["state"].values():
        if "step" in entry:
            entry["step"] = count(entry["step"])
    newer = {"foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"}
    for group in state["param_groups"]:
        for name in newer & group.keys():
            del group[name]
    copies = clones(params)
    after = case.ours(copies, **case.settings)
    after.load_state_dict(state)
    assert after.param_groups[0].keys() >= before.param_groups[0].keys()
    for a, b in zip(after.state.values(), before.state.values(), strict=True):
        assert "step" not in a or torch.equal(a["step"], b["step"])
    train(before, params, 5, seed=3)
    train(after, copies, 5, seed=3)
    torch.testing.assert_close(copies, params, rtol=1e-4, atol=1e-6)


# Dtypes


@pytest.mark.parametrize(
    ("state", "param", "kept"),
    [
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.float64, torch.float32, torch.float32),
        (torch.complex64, torch.complex64, torch.complex64),
    ],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_states_lose_no_digits_that_float32_has(
    state: torch.dtype, param: torch.dtype, kept: torch.dtype
) -> None:
    before = trained(parameters(5, dtype=state))
    params = parameters(5, dtype=param)
    after = adamantine.Adam(params)
    after.load_state_dict(saved(before))
    (entry,) = after.state.values()
    (old,) = before.state.values()
    assert entry["step"].dtype == torch.float32
    for name in ("exp_avg", "exp_avg_sq"):
        assert entry[name].dtype == kept
        assert torch.equal(entry[name], old[name].to(kept))
    train(after, params, 2)
    assert after.state_dict()["state"][0]["exp_avg"].dtype == kept


@one_case_of_each_number_of_states
def test_float32_states_of_bfloat16_parameters_follow_a_float32_run(case: Case) -> None:
    """The states see the same gradients, so they are those of the float32 run to rounding."""
    if any(case.settings.get(key) for key in ("weight_decay", "decoupled_weight_decay")):
        pytest.skip("decay puts the rounded parameters into the states")
    if case.ours is adamantine.ASGD:
        pytest.skip("its state is a mean of the rounded parameters")
    if case.ours is adamantine.Prodigy:
        pytest.skip("it estimates from the rounded parameters")
    exact = [nn.Parameter(torch.full((64,), 0.5))]
    optimizer = case.ours(exact, **case.settings)
    train(optimizer, exact, 1)
    if not optimizer.state.get(exact[0]):
        pytest.skip("keeps no state")
    params = clones(exact, torch.bfloat16)
    low = case.ours(params, **case.settings)
    low.load_state_dict(saved(optimizer))
    for step in range(5):
        grad = torch.randn(64, generator=torch.Generator().manual_seed(step)).bfloat16()
        exact[0].grad, params[0].grad = grad.float(), grad
        optimizer.step()
        low.step()
    assert params[0].dtype == torch.bfloat16
    torch.testing.assert_close(
        low.state[params[0]], optimizer.state[exact[0]], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(params[0].float(), exact[0], rtol=2e-2, atol=2e-2)


def test_a_state_in_another_layout_keeps_its_dtype() -> None:
    before = trained(parameters((2, 3, 4, 5)))
    param = nn.Parameter(
        torch.zeros(2, 3, 4, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    )
    after = adamantine.Adam([param])
    after.load_state_dict(saved(before))
    train(after, [param], 1)
    assert after.state[param]["exp_avg"].dtype == torch.float32
    assert after.state[param]["exp_avg"].stride() == param.stride()


# What torch promises around it


def test_entries_of_no_parameter_are_kept() -> None:
    state = trained(parameters(3)).state_dict()
    state["state"]["mine"] = {"seen": 7}
    after = adamantine.Adam(parameters(3))
    after.load_state_dict(state)
    assert after.state["mine"] == {"seen": 7}


def test_hooks_around_states_are_called_in_order_and_may_replace_them() -> None:
    results = []
    for module in (adamantine, torch.optim):
        calls: list[str] = []
        params = parameters(3)
        optimizer = module.Adam(params, lr=0.5)

        def change(kind: str, calls: list[str] = calls) -> Callable[..., Any]:
            def hook(_: Any, state: dict[str, Any]) -> dict[str, Any]:
                calls.append(kind)
                groups = [{**g, "lr": g["lr"] / 2} for g in state["param_groups"]]
                return {**state, "param_groups": groups}

            return hook

        optimizer.register_state_dict_pre_hook(lambda _, c=calls: c.append("before saving"))
        optimizer.register_state_dict_post_hook(change("after saving"))
        optimizer.register_load_state_dict_pre_hook(change("before loading"))
        optimizer.register_load_state_dict_pre_hook(change("first"), prepend=True)
        optimizer.register_load_state_dict_post_hook(lambda _, c=calls: c.append("after loading"))
        optimizer.load_state_dict(optimizer.state_dict())
        results.append((calls, optimizer.param_groups[0]["lr"]))
    assert results[0] == results[1]
    assert results[0][1] == 0.0625


def test_what_is_loaded_is_not_changed() -> None:
    state = saved(trained(parameters(3)))
    groups = copy.deepcopy(state["param_groups"])
    steps = int(state["state"][0]["step"])
    params = parameters(3)
    after = adamantine.Adam(params, weight_decay=0.5)
    after.load_state_dict({**state, "state": copy.deepcopy(state["state"])})
    after.param_groups[0]["lr"] = 99.0
    train(after, params, 2)
    assert state["param_groups"] == groups
    assert int(state["state"][0]["step"]) == steps


def test_the_kernels_take_float32_states_beside_bfloat16_parameters() -> None:
    state = saved(trained(parameters(500)))
    results = []
    for backend in ("cpu", "reference"):
        params = parameters(500, dtype=torch.bfloat16)
        after = adamantine.Adam(params, backend=backend)
        after.load_state_dict(copy.deepcopy(state))
        train(after, params, 5)
        assert after.state[params[0]]["exp_avg"].dtype == torch.float32
        results.append(params)
    torch.testing.assert_close(*results)
