"""How every row of ``cases.py`` is used: groups, schedules, closures, hooks, and wrong settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from numba.core import event
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

import adamantine
from adamantine.optim.usage.param_group import AS_TORCH, SWITCHES
from cases import BAD_SETTINGS, CASES, OTHER_BAD_SETTINGS, Case, theirs_of
from contract import Optimizer, assert_same_state, clones, every_case, parameters, train

MULTIPLIABLE = {
    *(
        "lr",
        "lr_decay",
        "eps",
        "weight_decay",
        "momentum",
        "momentum_decay",
        "alpha",
        "rho",
        "lambd",
    ),
}
CAPTURABLE = ["Adam", "AdamW", "Adamax", "RMSprop", "Adadelta", "RAdam", "NAdam", "Rprop", "ASGD"]


@every_case
def test_groups_have_their_own_settings(case: Case) -> None:
    start = parameters(100, 50, 20)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        groups = [
            {"params": params[:1], "lr": case.other_lr},
            {"params": params[1:2], "weight_decay": 0.3},
            {"params": params[2:]},
        ]
        optimizer = cls(groups, **case.settings)
        train(optimizer, params, 20)
        results.append((params, optimizer))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert_same_state(results[0][1], results[1][1])


@every_case
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.01, total_steps=20, cycle_momentum=bool({"betas", "momentum"} & o.defaults.keys())
        ),
    ],
    ids=["step", "cosine", "one-cycle"],
)
def test_schedulers_drive_it(case: Case, schedule: Callable[[Optimizer], object]) -> None:
    start = parameters(64)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        optimizer = cls(params, **case.settings)
        scheduler = schedule(optimizer)
        for step in range(10):
            train(optimizer, params, 1, seed=step)
            scheduler.step()
        results.append(params)
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@every_case
def test_tensor_learning_rate(case: Case) -> None:
    start = parameters(64)
    by_number, by_tensor = clones(start), clones(start)
    settings = {**case.settings, "lr": 0.015625}
    train(case.ours(by_number, **settings), by_number, 10)
    settings["lr"] = torch.tensor(0.015625)
    train(case.ours(by_tensor, **settings), by_tensor, 10)
    assert torch.equal(by_number[0], by_tensor[0])


@every_case
def test_closure_is_evaluated_once_with_gradients_enabled(case: Case) -> None:
    (param,) = parameters(8)
    optimizer = case.ours([param], **case.settings)
    calls = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    before = float((param**2).sum().detach())
    with torch.no_grad():
        assert float(optimizer.step(closure)) == pytest.approx(before)
    assert calls == [True]


@every_case
def test_changed_settings_do_not_recompile(case: Case) -> None:
    params = parameters(100)
    optimizer = case.ours(params, **case.settings)
    train(optimizer, params, 1)
    (group,) = optimizer.param_groups
    with event.install_recorder("numba:run_pass") as compilations:
        for factor in (0.5, 0.25, 0.125):
            for name in MULTIPLIABLE & group.keys():
                if isinstance(group[name], float):
                    group[name] *= factor
            group["weight_decay"] = 0.0 if factor == 0.25 else 0.1
            if "betas" in group:
                group["betas"] = (0.8 + factor / 10, *group["betas"][1:])
            train(optimizer, params, 1)
    assert not compilations.buffer


@every_case
def test_repeats_its_constructor_in_repr_and_keeps_hooks(case: Case) -> None:
    params = parameters(4)
    optimizer = case.ours(params, **case.settings)
    assert repr(optimizer).startswith(f"{case.ours.__name__} (\nParameter Group 0")
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    everyone = register_optimizer_step_post_hook(lambda *_: seen.append("everyone"))
    try:
        train(optimizer, params, 1)
    finally:
        everyone.remove()
    assert seen == ["before", "after", "everyone"]


NAMES = sorted({case.ours.__name__ for case in CASES})
BAD = [(name, settings) for name, rows in BAD_SETTINGS.items() for settings in rows]


@pytest.mark.parametrize(("name", "settings"), BAD, ids=lambda value: str(value)[:60])
def test_bad_settings_raise_what_torch_raises(name: str, settings: dict[str, object]) -> None:
    params = parameters(3)
    with pytest.raises(Exception) as theirs:
        getattr(torch.optim, name)(params, **settings)
    with pytest.raises(type(theirs.value)) as ours:
        getattr(adamantine, name)(params, **settings)
    assert str(ours.value).startswith(str(theirs.value))


OTHER_BAD = [(name, *row) for name, rows in OTHER_BAD_SETTINGS.items() for row in rows]


@pytest.mark.parametrize(("name", "settings", "message"), OTHER_BAD, ids=lambda v: str(v)[:60])
def test_bad_settings_of_those_torch_has_not(
    name: str, settings: dict[str, object], message: str
) -> None:
    assert not hasattr(torch.optim, name)
    with pytest.raises((ValueError, RuntimeError), match=re.escape(message)):
        getattr(adamantine, name)(parameters(3), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_bad_group_settings_are_refused_and_leave_no_group(name: str) -> None:
    params = parameters(3, 4)
    optimizer = getattr(adamantine, name)(params[:1])
    with pytest.raises(ValueError, match=r"(Invalid learning rate|Learning rate .* but is): -1"):
        optimizer.add_param_group({"params": params[1:], "lr": -1})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", CAPTURABLE)
def test_capturable_on_the_cpu_fails_as_torchs(name: str) -> None:
    messages = []
    for module in (torch.optim, adamantine):
        params = parameters(3)
        optimizer = getattr(module, name)(params, capturable=True)
        with pytest.raises(AssertionError, match="If capturable=True, params") as e:
            train(optimizer, params, 1)
        messages.append(str(e.value).partition("[")[0])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", NAMES)
def test_constructor_takes_what_torchs_takes(name: str) -> None:
    theirs = inspect.signature(theirs_of(name)).parameters
    ours = dict(inspect.signature(getattr(adamantine, name)).parameters)
    assert ours.pop("backend").default == "auto"
    assert ours.pop("options").kind is inspect.Parameter.VAR_KEYWORD
    for switch in SWITCHES & ours.keys() - theirs.keys():
        assert bool(ours.pop(switch).default) == (switch in AS_TORCH)
    if "sparse" in ours:
        assert ours.pop("sparse").default is None
    assert list(ours) == list(theirs)
    for parameter in theirs:
        assert ours[parameter].default == theirs[parameter].default
        assert ours[parameter].kind == theirs[parameter].kind


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hint", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_hints_change_nothing(name: str, hint: dict[str, bool]) -> None:
    if not hint.keys() <= inspect.signature(theirs_of(name)).parameters.keys():
        pytest.skip(f"torch's {name} has no such hint")
    start = parameters(50)
    plain, hinted = clones(start), clones(start)
    train(getattr(adamantine, name)(plain), plain, 5)
    train(getattr(adamantine, name)(hinted, **hint), hinted, 5)
    assert torch.equal(plain[0], hinted[0])
