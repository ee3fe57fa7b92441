"""One row for each optimizer and variant; every row runs the whole of ``test_contract_*.py``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

import adamantine
import oracles
from adamantine.backends import BackendName
from adamantine.optim import RuleOptimizer
from adamantine.optim.matrices import MatrixOptimizer
from adamantine.optim.usage.param_group import SWITCHES
from adamantine.rules import Rule


@dataclass(frozen=True)
class Case:
    """An optimizer with settings, and its oracle: torch's class of the same name, or a paper's box.

    `jumps` says that the update has a sign in it: where rounding turns it, an element goes the
    other way for one step. `other_lr` is a learning rate that one of several groups may have.
    """

    name: str
    ours: type[RuleOptimizer]
    theirs: type[torch.optim.Optimizer]
    settings: dict[str, Any] = field(default_factory=dict)
    rosenbrock_lr: float = 1e-3
    parabola_lr: float = 1e-2
    float64_rtol: float = 1e-12
    jumps: bool = False
    other_lr: float = 5e-3

    def __str__(self) -> str:
        return self.name

    def takes(self, setting: str) -> bool:
        """Whether the constructor has a setting of this name."""
        return setting in inspect.signature(self.ours).parameters

    @property
    def by_kernels(self) -> BackendName:
        """The backend that takes all its tensors to the CPU's kernels, or those that they take."""
        (group,) = self.ours([torch.nn.Parameter(torch.zeros(1))], **self.settings).param_groups
        return "auto" if self.ours.family.select(group).shapes else "cpu"

    def descending(self) -> dict[str, Any]:
        """The settings, to minimize and to decay nothing."""
        off = {"maximize": False, "weight_decay": 0.0}
        return {**self.settings, **{name: off[name] for name in off if self.takes(name)}}


def theirs_of(name: str) -> type[torch.optim.Optimizer]:
    """Torch's class, or the transcription of the paper where torch has none."""
    torchs = getattr(oracles, f"Torchs{name}", None) or getattr(torch.optim, name, None)
    return torchs or getattr(oracles, name)


def _with_switches(name: str) -> type[torch.optim.Optimizer] | None:
    return getattr(oracles, f"Cautious{name}", None) or getattr(oracles, name, None)


def _rows(
    name: str,
    lr: float,
    parabola_lr: float = 1e-2,
    float64_rtol: float = 1e-12,
    *,
    jumps: bool = False,
    other_lr: float = 5e-3,
    **variants: dict[str, Any],
) -> list[Case]:
    ours = getattr(adamantine, name)
    return [
        Case(
            f"{name}-{variant}",
            ours,
            # Torch's classes have no such switches.
            (SWITCHES & settings.keys() and _with_switches(name)) or theirs_of(name),
            settings,
            lr,
            parabola_lr,
            float64_rtol,
            jumps,
            other_lr,
        )
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
        cautious={"cautious": True, "weight_decay": 0.1},
        cautious_amsgrad={"cautious": True, "amsgrad": True, "maximize": True},
    ),
    *_rows(
        "AdamW",
        2e-2,
        default={},
        decay={"weight_decay": 0.1},
        amsgrad={"amsgrad": True},
        maximize={"maximize": True},
        no_decay={"weight_decay": 0.0},
        cautious={"cautious": True},
        cautious_decay={"cautious_weight_decay": True, "weight_decay": 0.1},
        scheduled_decay={"decouple_lr": True, "weight_decay": 1e-4, "max_lr": 5e-4},
        corrected_decay={"corrected_weight_decay": True, "weight_decay": 0.1, "max_lr": 2e-3},
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
        cautious={"cautious": True},
    ),
    *_rows(
        "Lion",
        1e-3,
        jumps=True,
        default={},
        decay={"weight_decay": 0.1},
        maximize={"maximize": True, "betas": (0.95, 0.98)},
        cautious={"cautious": True, "weight_decay": 0.1},
        cautious_decay={"cautious_weight_decay": True, "weight_decay": 0.1},
    ),
    *_rows(
        "LAMB",
        2e-2,
        6e-3,  # all steps are of one size
        default={},
        no_decay={"weight_decay": 0.0},
        maximize={"maximize": True, "betas": (0.8, 0.9), "eps": 1e-4},
    ),
    *_rows(
        "LARS",
        10.0,
        1.0,
        default={},
        no_decay={"weight_decay": 0.0, "momentum": 0.0, "trust_coefficient": 1e-2},
        maximize={"maximize": True, "weight_decay": 0.1, "lr": 0.5},
    ),
    *_rows(
        "MARSAdamW",
        2e-2,
        default={},
        decay={"weight_decay": 0.1, "gamma": 0.1},
        maximize={"maximize": True, "betas": (0.8, 0.9), "gamma": 0.0},
    ),
    *_rows(
        "MARSLion",
        1e-3,
        3e-3,
        jumps=True,
        default={},
        decay={"weight_decay": 0.1, "gamma": 0.1},
        maximize={"maximize": True, "beta": 0.9},
    ),
    *_rows(
        "StableAdamW",
        2e-2,
        default={},
        decay={"weight_decay": 0.1, "betas": (0.9, 0.8)},
        maximize={"maximize": True, "betas": (0.8, 0.9), "eps": 1e-4},
    ),
    *_rows(
        "SOAP",
        2e-2,
        # Of sides that the first gradient spans: eigenvectors of others are what rounding makes.
        default={"max_precond_dim": 8, "precondition_frequency": 3},
        decay={"max_precond_dim": 3, "weight_decay": 0.1, "shampoo_beta": 0.5},
        maximize={"max_precond_dim": 8, "maximize": True, "betas": (0.8, 0.9), "eps": 1e-4},
    ),
    *_rows(
        "Adafactor",
        2e-2,
        default={},
        decay={"weight_decay": 0.1, "lr": 0.1, "beta2_decay": -0.5},
        maximize={"maximize": True, "d": 2.0, "eps": (1e-4, 0.1)},
        average={"beta1": 0.9, "weight_decay": 0.1, "eps": (1e-15, 1e-3)},
        steps_alone={"scale_parameter": False, "relative_step": False, "lr": 5e-3},
        warmup={"warmup_init": True, "eps": (1e-15, 5.0), "beta1": 0.5},
    ),
    *_rows(
        "ADOPT",
        0.2,
        default={},
        l2={"weight_decay": 0.1},
        decoupled={"weight_decay": 0.1, "decoupled_weight_decay": True},
        unclipped={"clip_exp": None, "eps": 1e-2},
        maximize={"maximize": True, "betas": (0.8, 0.9)},
        cautious={"cautious": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    *_rows(
        "AdaBelief",
        2e-2,
        default={},
        decay={"weight_decay": 0.1},
        l2={"weight_decay": 0.1, "decoupled_weight_decay": False, "eps": 1e-8},
        maximize={"maximize": True, "betas": (0.8, 0.9)},
        cautious={"cautious": True, "weight_decay": 0.1},
    ),
    *_rows(
        "Adan",
        2e-2,
        default={},
        decay={"weight_decay": 0.1},
        no_prox={"weight_decay": 0.1, "no_prox": True},
        maximize={"maximize": True, "betas": (0.9, 0.8, 0.95)},
        cautious={"cautious": True, "weight_decay": 0.1},
    ),
    *_rows(
        "AdEMAMix",
        0.1,
        0.05,  # the slow average of the way down is forgotten as others push against it
        default={},
        decay={"weight_decay": 0.1, "alpha": 5.0},
        warmup={"alpha_warmup": 12, "beta3_warmup": 40, "betas": (0.9, 0.99, 0.995)},
        maximize={"maximize": True, "betas": (0.8, 0.9, 0.99)},
        cautious={"cautious": True, "weight_decay": 0.1},
    ),
    *_rows(
        "Prodigy",
        1.0,
        1.0,
        other_lr=0.0,
        default={},
        decay={"weight_decay": 0.1, "use_bias_correction": True},
        l2={"weight_decay": 0.1, "decouple": False, "d_coef": 2.0, "beta3": 0.9},
        safeguard={"safeguard_warmup": True, "growth_rate": 1.1, "d0": 1e-4},
        maximize={"maximize": True, "betas": (0.8, 0.99), "eps": 1e-6},
    ),
    *_rows(
        "AdamWScheduleFree",
        0.1,
        0.05,
        float64_rtol=1e-6,  # the sum of all weights is kept in float32, always
        default={},
        decay={"weight_decay": 0.1, "r": 1.0, "weight_lr_power": 0.0},
        warmup={"warmup_steps": 12, "betas": (0.95, 0.9), "weight_decay": 0.01},
        maximize={"maximize": True, "weight_decay": 0.1},
    ),
    *_rows(
        "RAdamScheduleFree",
        0.1,
        0.05,
        float64_rtol=1e-6,
        default={},
        decay={"weight_decay": 0.05, "r": 1.0},
        maximize={"maximize": True},
    ),
    *_rows(
        "RAdamScheduleFree",
        5e-3,  # more, and the plain gradients of its first steps are thrown out of the valley
        float64_rtol=1e-6,
        begins_at_once={"silent_sgd_phase": False, "betas": (0.9, 0.9), "lr": 0.1},
    ),
    *_rows(
        "SGDScheduleFree",
        5e-3,
        0.1,
        float64_rtol=1e-6,
        default={"lr": 0.1},
        decay={"weight_decay": 0.1, "lr": 0.1, "r": 1.0},
        warmup={"warmup_steps": 12, "momentum": 0.5, "lr": 0.1},
        maximize={"maximize": True, "lr": 0.1},
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
        "Rprop",
        1e-3,
        default={},
        factors={"etas": (0.4, 1.1), "step_sizes": (1e-5, 0.1), "lr": 0.02},
        maximize={"maximize": True},
    ),
    *_rows(
        "ASGD",
        1e-3,
        float64_rtol=1e-6,  # torch keeps η and μ in float32, always
        default={},
        l2={"weight_decay": 0.1},
        averaging={"t0": 3, "lambd": 1e-2},
        maximize={"maximize": True, "alpha": 0.5, "lambd": 1e-3},
    ),
    *_rows(
        "RAdam",
        6e-3,  # more, and the plain momentum of its first steps is thrown out of the valley
        default={},
        l2={"weight_decay": 0.1},
        decoupled={"weight_decay": 0.1, "decoupled_weight_decay": True},
        never={"betas": (0.9, 0.6)},  # its average is too short to ever divide by
        cautious={"cautious": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
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
        cautious={"cautious": True, "weight_decay": 0.1},
        maximize={"maximize": True},
    ),
]


def rule_of(case: Case) -> Rule:
    """What the row's settings lead to."""
    (group,) = case.ours([torch.nn.Parameter(torch.zeros(1))], **case.settings).param_groups
    return case.ours.family.rule_of(group, (1,))


FAMILIES = list({case.ours.family.name: case.ours.family for case in CASES}.values())
ONE_BY_ONE = [
    case
    for case in CASES
    if rule_of(case).shared_sums is None and not issubclass(case.ours, MatrixOptimizer)
]
"""Rows whose parameters can be updated one after the other, each without the others' gradients."""
RULES = list({rule_of(case): case.ours.family for case in CASES}.items())
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
    "Adafactor": [
        {"lr": -1.0},
        {"beta2_decay": 0.1},
        {"eps": (-1.0, 1e-3)},
        {"eps": (None, -1.0)},
        {"d": 0.5},
        {"weight_decay": -0.1},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
    "Rprop": [
        {"lr": -1.0},
        {"etas": (0.0, 1.2)},
        {"etas": (1.0, 1.2)},
        {"etas": (0.5, 1.0)},
        {"lr": torch.tensor([1e-3, 1e-3])},
    ],
    "ASGD": [
        {"lr": -1.0},
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

OTHER_BAD_SETTINGS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "Lion": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"lr": torch.tensor([1e-3, 1e-3])}, "Tensor lr must be 1-element"),
        ({"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together."),
    ],
    "ADOPT": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"clip_exp": -0.5}, "Invalid clip_exp value: -0.5"),
        ({"fused": True, "differentiable": True}, "`fused` does not support `differentiable`"),
    ],
    "LAMB": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ],
    "LARS": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"momentum": -0.1}, "Invalid momentum value: -0.1"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"trust_coefficient": -1.0}, "Invalid trust_coefficient value: -1.0"),
    ],
    "MARSAdamW": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"gamma": -1.0}, "Invalid gamma value: -1.0"),
    ],
    "MARSLion": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"beta": 1.0}, "Invalid beta parameter: 1.0"),
        ({"gamma": -1.0}, "Invalid gamma value: -1.0"),
    ],
    "Prodigy": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": 0.0}, "Invalid epsilon value: 0.0 (expected > 0)"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"beta3": 1.0}, "Invalid beta3 value: 1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"d0": 0.0}, "Invalid d0 value: 0.0 (expected > 0)"),
        ({"d_coef": 0.0}, "Invalid d_coef value: 0.0 (expected > 0)"),
        ({"growth_rate": 0.9}, "Invalid growth_rate value: 0.9"),
    ],
    "SOAP": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"shampoo_beta": 1.0}, "Invalid shampoo_beta value: 1.0"),
        ({"precondition_frequency": 0}, "Invalid precondition_frequency value: 0"),
        ({"max_precond_dim": -1}, "Invalid max_precond_dim value: -1"),
    ],
    "StableAdamW": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ],
    "AdaBelief": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
        ({"betas": [0.9]}, "Invalid beta parameter: (0.9,) (expected 2 numbers)"),
        ({"betas": 0.9}, "Invalid beta parameter: 0.9 (expected 2 numbers)"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ],
    "AdamWScheduleFree": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (0.0, 0.9)}, "Invalid beta parameter at index 0: 0.0 (expected > 0 and < 1)"),
        ({"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
        ({"betas": (0.9,)}, "Invalid beta parameter: (0.9,) (expected 2 numbers)"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"warmup_steps": -1}, "Invalid warmup_steps value: -1"),
        ({"weight_lr_power": -1}, "Invalid weight_lr_power value: -1"),
        ({"r": -1}, "Invalid r value: -1"),
    ],
    "RAdamScheduleFree": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
    ],
    "SGDScheduleFree": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"momentum": 0.0}, "Invalid momentum value: 0.0 (expected > 0 and < 1)"),
        ({"momentum": 1.0}, "Invalid momentum value: 1.0"),
    ],
    "AdEMAMix": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (0.9, 0.9, 1.0)}, "Invalid beta parameter at index 2: 1.0"),
        ({"betas": (0.9, 0.999)}, "Invalid beta parameter: (0.9, 0.999) (expected 3 numbers)"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
        ({"alpha": -1.0}, "Invalid alpha value: -1.0"),
        ({"beta3_warmup": -1}, "Invalid beta3_warmup value: -1"),
        ({"alpha_warmup": -1}, "Invalid alpha_warmup value: -1"),
    ],
    "Adan": [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
        ({"betas": (0.9, 0.9, 1.0)}, "Invalid beta parameter at index 2: 1.0"),
        ({"betas": (0.9, 0.999)}, "Invalid beta parameter: (0.9, 0.999) (expected 3 numbers)"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ],
}
"""The same for those that torch has not, in torch's words where it has some."""
