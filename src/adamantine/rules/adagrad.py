"""Adagrad: gradients divided by the root of the sum of all their squares so far.

Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
Optimization", JMLR 12, 2011, Figure 1 (diagonal matrices), without its proximal terms::

    s_t = s_{t-1} + g_t²
    θ_t = θ_{t-1} - α / (1 + (t - 1) η) · g_t / (√s_t + ε)

The falling learning rate (η) is not the paper's: the sum alone lets the steps shrink as 1/√t.
"""

from typing import Any

from adamantine.rules.hyperparameters import (
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
    Search,
)
from adamantine.rules.ops import sqrt
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised


def adagrad(param, grad, sum, sign, l2, step_size, eps):  # noqa: A002 - torch's name for it
    grad = regularised(param, grad, sign, l2)
    sum = sum + grad * grad  # noqa: A001
    return param - step_size * grad / (sqrt(sum) + eps), sum


ADAGRAD = Rule(adagrad, ("sum",), nonnegative=("sum",))


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`."""
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "step_size": settings["lr"] / (1 + (step - 1) * settings["lr_decay"]),
        "eps": settings["eps"],
    }


FAMILY = Family(
    name="adagrad",
    paper="Duchi et al. 2011, Figure 1",
    hyperparameters=(
        LEARNING_RATE,
        Hyperparameter("lr_decay", "lr_decay value", search=Search(1e-6, 1e-2)),
        WEIGHT_DECAY,
        Hyperparameter("initial_accumulator_value", "initial_accumulator_value value"),
        EPS,
    ),
    select=lambda _: ADAGRAD,
    scalars=scalars,
    initial=lambda settings: {"sum": settings["initial_accumulator_value"]},
)
