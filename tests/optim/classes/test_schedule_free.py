"""The schedule-free optimizers beside their authors' package, and what their two modes ask for."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import StateError, UsageError
from adamantine.optim.schedule_free import ScheduleFreeOptimizer
from contract import clones, parameters, train

schedulefree = pytest.importorskip("schedulefree")

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("AdamWScheduleFree", {}),
    ("AdamWScheduleFree", {"weight_decay": 0.1, "warmup_steps": 7, "betas": (0.95, 0.99)}),
    ("AdamWScheduleFree", {"r": 1.0, "weight_lr_power": 0.0, "lr": 0.01, "eps": 1e-4}),
    ("AdamWScheduleFree", {"warmup_steps": 9, "weight_lr_power": 0.0, "r": 0.5}),
    ("RAdamScheduleFree", {"weight_decay": 0.1}),
    ("RAdamScheduleFree", {"silent_sgd_phase": False, "r": 2.0}),
    ("RAdamScheduleFree", {"weight_lr_power": 0.0}),
    ("RAdamScheduleFree", {"betas": (0.9, 0.5)}),
    ("SGDScheduleFree", {"weight_decay": 0.01, "lr": 0.5}),
    ("SGDScheduleFree", {"warmup_steps": 20, "momentum": 0.5, "r": 1.0}),
]
every_setting = pytest.mark.parametrize(("name", "settings"), SETTINGS)
CLASSES = ["AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"]
every_class = pytest.mark.parametrize("name", CLASSES)


def both(name: str, settings: dict[str, Any], dtype: torch.dtype = torch.float64) -> Any:
    """Our optimizer and theirs, in train mode, each with parameters."""
    start = parameters(7, (3, 4), dtype=dtype)
    ours, theirs = clones(start), clones(start)
    a = getattr(adamantine, name)(ours, **settings)
    b = getattr(schedulefree, name)(theirs, **settings, foreach=False)
    b.train()
    return (ours, a), (theirs, b)


def assert_same(ours: Any, theirs: Any, rtol: float = 1e-6) -> None:
    # The sum of the weights is a float32 here, as all counters beside a parameter are.
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)


@every_setting
def test_as_the_authors_package(name: str, settings: dict[str, Any]) -> None:
    """Both modes, back and forth, and a learning rate that changes on the way."""
    (ours, a), (theirs, b) = both(name, settings)
    for turn in range(4):
        for optimizer, params in ((a, ours), (b, theirs)):
            optimizer.param_groups[0]["lr"] *= (1.0, 0.5, 4.0, 1.0)[turn]
            train(optimizer, params, 8, seed=turn)
        assert_same(ours, theirs)
        for p, q in zip(ours, theirs, strict=True):
            assert_same(a.state[p]["z"], b.state[q]["z"])
        a.eval()
        b.eval()
        assert_same(ours, theirs)
        a.eval()  # nothing happens twice
        assert_same(ours, theirs)
        a.train()
        b.train()
        assert_same(ours, theirs)


@every_class
def test_infinity_and_nan_as_the_authors_package(name: str) -> None:
    bad = torch.tensor([math.nan, math.inf, -math.inf, 1.0, 0.0, 1e30, -1e-38])
    (ours, a), (theirs, b) = both(name, {}, torch.float32)
    for step in range(4):
        for optimizer, params in ((a, ours), (b, theirs)):
            params[0].grad = bad.roll(step) if step < 2 else torch.ones(7)
            optimizer.step()
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@every_setting
@pytest.mark.parametrize("saved_in", ["train", "eval"])
@pytest.mark.parametrize("direction", ["to theirs", "from theirs"])
def test_checkpoints_interchange(
    name: str, settings: dict[str, Any], direction: str, saved_in: str
) -> None:
    sides = both(name, settings)
    (params, first), (others, second) = sides if direction == "to theirs" else sides[::-1]
    train(first, params, 9)
    getattr(first, saved_in)()
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second.load_state_dict(torch.load(stream, weights_only=True))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.detach())
    assert second.param_groups[0]["train_mode"] is (saved_in == "train")
    for optimizer, own in ((first, params), (second, others)):
        optimizer.train()
        train(optimizer, own, 9, seed=5)
    assert_same(params, others)
    first.eval()
    second.eval()
    assert_same(params, others)


@every_setting
def test_a_state_that_has_been_with_them_counts_their_steps(
    name: str, settings: dict[str, Any]
) -> None:
    """Theirs keep our counters as they came, and count in their groups."""
    (ours, a), (theirs, b) = both(name, settings)
    train(a, ours, 5)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    for p, q in zip(ours, theirs, strict=True):
        q.data.copy_(p.detach())
    train(b, theirs, 6, seed=2)
    train(a, ours, 6, seed=2)
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    assert float(a.state[ours[0]]["step"]) == 11
    train(b, theirs, 6, seed=3)
    train(a, ours, 6, seed=3)
    assert_same(ours, theirs)


@every_class
def test_what_has_done_no_step_is_the_same_in_both_modes(name: str) -> None:
    params = parameters(5)
    before = clones(params)
    optimizer = getattr(adamantine, name)(params)
    assert optimizer.state_dict()["param_groups"][0]["k"] == 0
    optimizer.share_memory()  # makes states
    optimizer.eval()
    optimizer.train()
    assert torch.equal(params[0], before[0])


@every_class
def test_a_step_in_eval_mode_is_refused(name: str) -> None:
    params = parameters(5)
    optimizer = getattr(adamantine, name)(params)
    train(optimizer, params, 2)
    optimizer.eval()
    average = clones(params)
    with pytest.raises(StateError, match=rf"^{name} is in eval mode.*Call optimizer.train\(\)"):
        train(optimizer, params, 1)
    assert torch.equal(params[0], average[0])
    optimizer.add_param_group({"params": parameters(3)})
    assert not optimizer.param_groups[1]["train_mode"]
    optimizer.train()
    train(optimizer, params, 1)


def test_a_regrouped_state_is_in_the_mode_that_it_was_saved_in() -> None:
    params = parameters(5, 4)
    names = ["a", "b"]
    optimizer = adamantine.AdamWScheduleFree(zip(names, params, strict=True))
    train(optimizer, params, 3)
    optimizer.eval()
    copies = clones(params)
    split = adamantine.AdamWScheduleFree(
        [{"params": [pair]} for pair in zip(names, copies, strict=True)]
    )
    split.load_state_dict(adamantine.regroup(copy.deepcopy(optimizer.state_dict()), split))
    for each in (optimizer, split):
        each.train()
    train(optimizer, params, 3)
    train(split, copies, 3)
    assert all(map(torch.equal, copies, params))


def test_a_backward_that_steps_in_eval_mode_is_refused() -> None:
    model = nn.Linear(3, 2)
    optimizer = adamantine.AdamWScheduleFree(model.parameters())
    optimizer.step_in_backward(model)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.eval()
    with pytest.raises(StateError, match="is in eval mode"):
        model(torch.ones(1, 3)).sum().backward()


def attached() -> tuple[nn.Module, ScheduleFreeOptimizer, Any]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = adamantine.AdamWScheduleFree(model.parameters())
    return model, optimizer, optimizer.attach(model)


def test_an_attached_model_is_evaluated_and_saved_in_the_right_mode_only() -> None:
    model, optimizer, attachment = attached()
    x = torch.ones(1, 3)
    model(x).sum().backward()
    optimizer.step()
    model.eval()
    with pytest.raises(StateError, match=r"call optimizer.eval\(\) before you evaluate"):
        model(x)
    with pytest.raises(StateError, match=r"call optimizer.eval\(\) before model.state_dict\(\)"):
        model.state_dict()
    optimizer.eval()
    model(x)
    model.state_dict()
    model.train()
    with pytest.raises(StateError, match=r"call optimizer.train\(\) when you call model.train\(\)"):
        model(x)
    with torch.no_grad():
        model(x)  # for the statistics of batch norm
    optimizer.train()
    model(x)
    model.eval()
    copy.deepcopy(model)(x)  # a copy has another optimizer, or none
    attachment.remove()
    model(x)
    model.state_dict()


def test_attach_takes_the_model_that_is_trained() -> None:
    _, optimizer, _ = attached()
    with pytest.raises(UsageError, match="has no parameter of this optimizer"):
        optimizer.attach(nn.Linear(3, 4))


@pytest.mark.parametrize("master", ["float32", "24bit"])
def test_masters_change_the_mode_without_rounding(master: str) -> None:
    """The average of bfloat16 parameters is that of float32 training, and goes back again."""
    params = parameters(300, dtype=torch.bfloat16)
    exact = clones(params, torch.float32)
    optimizers = [
        adamantine.AdamWScheduleFree(params, lr=0.02, master=master),
        adamantine.AdamWScheduleFree(exact, lr=0.02),
    ]
    generator = torch.Generator().manual_seed(0)
    for turn in range(6):
        for _ in range(3):
            grad = torch.randn(300, generator=generator).bfloat16()
            params[0].grad, exact[0].grad = grad, grad.float()
            for optimizer in optimizers:
                optimizer.step()
        for optimizer in optimizers:
            (optimizer.eval, optimizer.train)[turn % 2]()
        torch.testing.assert_close(params[0].float(), exact[0], rtol=2.0**-8, atol=1e-4)
        for optimizer in optimizers:
            optimizer.train()


def test_rounding_changes_the_mode_without_drifting() -> None:
    """Stochastically: a thousand changes of the mode move no parameter far from where it was."""
    params = parameters(500, dtype=torch.bfloat16)
    optimizer = adamantine.AdamWScheduleFree(params, lr=1e-3, param_rounding="stochastic")
    train(optimizer, params, 5)
    before = params[0].detach().float()
    for _ in range(200):
        optimizer.eval()
        optimizer.train()
    assert float((params[0].detach().float() - before).mean().abs()) < 2e-3


def test_codes_for_the_average_of_squares_alone() -> None:
    params = parameters(300)
    with pytest.raises(UsageError, match="the state 'z' must not be rounded"):
        train(adamantine.AdamWScheduleFree(params, state_dtype="int8"), params, 1)
    optimizer = adamantine.AdamWScheduleFree(params, state_dtype={"exp_avg_sq": "int8"})
    train(optimizer, params, 3)
    codes = optimizer.state[params[0]]["exp_avg_sq"].clone()
    optimizer.eval()
    optimizer.train()
    assert torch.equal(optimizer.state[params[0]]["exp_avg_sq"], codes)
