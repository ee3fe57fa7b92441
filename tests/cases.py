"""One row for each optimizer and variant; every row runs the whole of ``test_contract_*.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

import adamantine
from adamantine.optim import RuleOptimizer
from adamantine.rules import Rule


@dataclass(frozen=True)
class Case:
    """An optimizer with settings, and torch's class of the same name as its oracle."""

    name: str
    ours: type[RuleOptimizer]
    theirs: type[torch.optim.Optimizer]
    settings: dict[str, Any] = field(default_factory=dict)
    rosenbrock_lr: float = 1e-3

    def __str__(self) -> str:
        return self.name


def _rows(name: str, lr: float, **variants: dict[str, Any]) -> list[Case]:
    ours, theirs = getattr(adamantine, name), getattr(torch.optim, name)
    return [
        Case(f"{name}-{variant}", ours, theirs, settings, lr)
        for variant, settings in variants.items()
    ]


CASES = [
    *_rows(
        "Adam",
        2e-2,
        default={},
        amsgrad={"amsgrad": True},
        l2={"weight_decay": 0.1},
        amsgrad_l2={"amsgrad": True, "weight_decay": 0.1},
        decoupled={"weight_decay": 0.1, "decoupled_weight_decay": True},
        maximize={"maximize": True, "weight_decay": 0.01},
        betas={"betas": (0.5, 0.9), "eps": 1e-4, "lr": 1e-2},
    ),
    *_rows(
        "AdamW",
        2e-2,
        default={},
        decay={"weight_decay": 0.1},
        amsgrad={"amsgrad": True},
        maximize={"maximize": True},
        no_decay={"weight_decay": 0.0},
    ),
    *_rows(
        "SGD",
        1e-3,
        default={},
        l2={"weight_decay": 0.1},
        momentum={"momentum": 0.9},
        dampening={"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01},
        nesterov={"momentum": 0.9, "nesterov": True},
        maximize={"momentum": 0.9, "maximize": True},
    ),
    *_rows(
        "RMSprop",
        1e-3,
        default={},
        l2={"weight_decay": 0.1},
        momentum={"momentum": 0.9, "lr": 1e-3},
        centered={"centered": True},
        centered_momentum={"centered": True, "momentum": 0.9, "lr": 1e-3},
        maximize={"maximize": True, "alpha": 0.9},
    ),
    *_rows(
        "Adamax",
        2e-2,
        default={},
        l2={"weight_decay": 0.1},
        maximize={"maximize": True, "betas": (0.8, 0.9)},
    ),
]


def _rule(case: Case) -> Rule:
    (group,) = case.ours([torch.nn.Parameter(torch.zeros(1))], **case.settings).param_groups
    return case.ours.family.select(group)


FAMILIES = list({case.ours.family.name: case.ours.family for case in CASES}.values())
RULES = list({_rule(case): case.ours.family for case in CASES}.items())
"""Every rule that a row leads to, with its family."""

BAD_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Adam": [
        {"lr": -1.0},
        {"eps": -1e-8},
        {"betas": (1.0, 0.999)},
        {"betas": (0.9, -0.1)},
        {"betas": (0.9, torch.tensor(0.999))},
        {"weight_decay": -0.1},
        {"lr": torch.tensor([1e-3, 1e-3])},
        {"lr": torch.tensor(1e-3), "foreach": True},
        {"fused": True, "foreach": True},
        {"fused": True, "differentiable": True},
    ],
    "AdamW": [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -1}],
    "SGD": [
        {"lr": -0.5},
        {"momentum": -0.5},
        {"weight_decay": -1.0},
        {"nesterov": True},
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        {"lr": torch.tensor([1e-3, 1e-3])},
        {"fused": True, "foreach": True},
    ],
    "Adamax": [
        {"lr": -1.0},
        {"eps": -1.0},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -1.0},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
    "RMSprop": [
        {"lr": -1.0},
        {"eps": -1.0},
        {"momentum": -1.0},
        {"weight_decay": -1.0},
        {"alpha": -0.1},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
}
"""Settings that torch refuses; ours has to refuse them with the same type and words."""
