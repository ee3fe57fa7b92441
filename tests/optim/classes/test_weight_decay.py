"""Decoupled weight decay that is cautious, or follows a schedule."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import UsageError
from contract import clones, parameters, train

FORMS = ["cautious_weight_decay", "decouple_lr", "corrected_weight_decay"]


def shrinkage(rates: list[float], **settings: Any) -> list[float]:
    """By what share a parameter of ones shrinks in steps at these rates, without a gradient."""
    param = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = adamantine.AdamW([param], lr=0.5, weight_decay=0.25, **settings)
    shares = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        before = param.detach().clone()
        param.grad = torch.zeros(3, dtype=torch.float64)
        optimizer.step()
        shares.append(float(1 - param[0].detach() / before[0]))
    return shares


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1 / 8, 1 / 16, 0.0]),  # γ λ
        ({"decouple_lr": True}, [1 / 4, 1 / 8, 0.0]),  # γ/½ λ
        ({"corrected_weight_decay": True}, [1 / 8, 1 / 32, 0.0]),  # γ²/½ λ
        ({"corrected_weight_decay": True, "max_lr": 1.0}, [1 / 16, 1 / 64, 0.0]),
        ({"decouple_lr": True, "corrected_weight_decay": True}, [1 / 4, 1 / 16, 0.0]),
        ({"cautious_weight_decay": True}, [1 / 8, 1 / 16, 0.0]),  # nothing speaks against it
    ],
    ids=str,
)
def test_how_much_decays_at_two_rates_and_none(settings: dict, expected: list[float]) -> None:
    assert shrinkage([0.5, 0.25, 0.0], **settings) == pytest.approx(expected, rel=1e-12)


def test_corrected_decay_is_adamc() -> None:
    """As in the package ``pytorch_optimizer``, whose groups say that they are ``normalized``."""
    theirs = pytest.importorskip("pytorch_optimizer").AdamC
    start = parameters(40, dtype=torch.float64)
    ours, others = clones(start), clones(start)
    settings = {"lr": 0.01, "weight_decay": 0.3}
    optimizers = [
        adamantine.AdamW(ours, corrected_weight_decay=True, **settings),
        theirs([{"params": others, "normalized": True}], **settings),
    ]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 20) for o in optimizers]
    for step in range(20):
        for optimizer, params, schedule in zip(optimizers, (ours, others), schedules, strict=True):
            train(optimizer, params, 1, seed=step)
            schedule.step()
    # It adds ε before the correction of the second moment.
    torch.testing.assert_close(ours, others, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cls", [adamantine.AdamW, adamantine.Lion])
def test_cautious_decay_by_hand(cls: Any) -> None:
    """Of four elements it shrinks those that the update shrinks, and that which stands still."""
    start = torch.tensor([2.0, 2.0, -2.0, 2.0], dtype=torch.float64)
    grad = torch.tensor([1.0, -1.0, -1.0, 0.0], dtype=torch.float64)
    ends = []
    for settings in ({"weight_decay": 0.0}, {"weight_decay": 0.5, "cautious_weight_decay": True}):
        param = nn.Parameter(start.clone())
        optimizer = cls([param], lr=0.25, **settings)
        param.grad = grad.clone()
        optimizer.step()
        ends.append(param.detach())
    decayed = ends[1] - ends[0]
    torch.testing.assert_close(decayed, -0.125 * start * torch.tensor([1.0, 0.0, 1.0, 1.0]))


def test_the_highest_rate_is_that_of_the_group_or_the_schedulers() -> None:
    params = parameters(2, 3)
    optimizer = adamantine.AdamW(
        [{"params": params[:1]}, {"params": params[1:], "lr": torch.tensor(0.5)}],
        lr=0.25,
        decouple_lr=True,
    )
    assert [group["max_lr"] for group in optimizer.param_groups] == [0.25, 0.5]
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[2.0, 3.0], total_steps=5)
    assert [group["max_lr"] for group in optimizer.param_groups] == [2.0, 3.0]
    later = adamantine.AdamW(parameters(2), lr=0.5, weight_decay=0.25)
    later.param_groups[0].update(decouple_lr=True, initial_lr=1.0)
    assert later.family.scalars(later.param_groups[0], 1)["decay"] == 0.125


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_torch_leave_the_switches_and_ours_bring_them(form: str) -> None:
    params = parameters(5)
    ours = adamantine.AdamW(params, **{form: True})
    theirs = torch.optim.AdamW(clones(params))
    expected = {k: v for k, v in ours.param_groups[0].items() if k in (form, "max_lr")}
    ours.load_state_dict(theirs.state_dict())
    assert {k: v for k, v in ours.param_groups[0].items() if k in (form, "max_lr")} == expected
    plain = adamantine.AdamW(clones(params))
    plain.load_state_dict(copy.deepcopy(ours.state_dict()))
    assert expected.items() <= plain.param_groups[0].items()


@pytest.mark.parametrize("form", FORMS)
def test_for_decoupled_decay_only(form: str) -> None:
    with pytest.raises(UsageError, match=f"{form} is for decoupled weight decay; use AdamW"):
        adamantine.Adam(parameters(2), **{form: True})
    adamantine.Adam(parameters(2), decoupled_weight_decay=True, **{form: True})


def test_a_highest_rate_is_above_zero() -> None:
    with pytest.raises(ValueError, match="Invalid max_lr: 0"):
        adamantine.AdamW(parameters(2), decouple_lr=True, max_lr=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sparse", ["lazy", "exact"])
def test_rows_decay_as_tables_do(form: str, sparse: Any) -> None:
    """Every row is in every gradient: both ways are then those of dense gradients, but for ε."""
    tables = [nn.Embedding(6, 4, sparse=s) for s in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    settings = {"lr": 0.05, "weight_decay": 0.3, "eps": 0.0, form: True}
    optimizers = [
        adamantine.AdamW(tables[0].parameters(), sparse=sparse, **settings),
        adamantine.AdamW(tables[1].parameters(), **settings),
    ]
    for step in range(6):
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.zero_grad()
            (
                table(torch.arange(6)) * (torch.arange(24.0).view(6, 4) - 7 * step + 0.5)
            ).sum().backward()
            optimizer.step()
    torch.testing.assert_close(tables[0].weight, tables[1].weight, rtol=1e-5, atol=1e-6)
