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
    parabola_lr: float = 1e-2
    float64_rtol: float = 1e-12

    def __str__(self) -> str:
        return self.name


def _rows(
    name: str,
    lr: float,
    parabola_lr: float = 1e-2,
    float64_rtol: float = 1e-12,
    **variants: dict[str, Any],
) -> list[Case]:
    ours, theirs = getattr(adamantine, name), getattr(torch.optim, name)
    return [
        Case(f"{name}-{variant}", ours, theirs, settings, lr, parabola_lr, float64_rtol)
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
    *_rows(
        "Adagrad",
        0.5,
        0.5,
        default={},
        l2={"weight_decay": 0.1},
        lr_decay={"lr_decay": 1e-3},
        start={"initial_accumulator_value": 0.5, "eps": 1e-4},
        maximize={"maximize": True},
    ),
    *_rows(
        "Adadelta",
        1.0,
        1.0,
        default={},
        l2={"weight_decay": 0.1},
        rho={"rho": 0.95, "lr": 0.5},
        maximize={"maximize": True},
    ),
    *_rows(
        "RAdam",
        6e-3,  # more, and the plain momentum of its first steps is thrown out of the valley
        default={},
        l2={"weight_decay": 0.1},
        decoupled={"weight_decay": 0.1, "decoupled_weight_decay": True},
        never={"betas": (0.9, 0.6)},  # its average is too short to ever divide by
        maximize={"maximize": True, "betas": (0.8, 0.9)},
    ),
    *_rows(
        "NAdam",
        2e-2,
        float64_rtol=1e-7,  # torch keeps the product of the momenta in float32, always
        default={},
        l2={"weight_decay": 0.1},
        decoupled={"weight_decay": 0.1, "decoupled_weight_decay": True},
        schedule={"momentum_decay": 0.5, "betas": (0.95, 0.9)},
        maximize={"maximize": True},
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
    "Adagrad": [
        {"lr": -1.0},
        {"lr_decay": -0.5},
        {"weight_decay": -1.0},
        {"initial_accumulator_value": -0.1},
        {"eps": -1.0},
        {"lr": torch.tensor([1e-3, 1e-3])},
        {"fused": True, "foreach": True},
        {"fused": True, "differentiable": True},
    ],
    "Adadelta": [
        {"lr": -1.0},
        {"rho": -0.1},
        {"rho": 1.1},
        {"eps": -1.0},
        {"weight_decay": -1.0},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
    "RAdam": [
        {"lr": -1.0},
        {"eps": -1.0},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -1.0},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
    "NAdam": [
        {"lr": -1.0},
        {"eps": -1.0},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -1.0},
        {"momentum_decay": -0.1},
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
