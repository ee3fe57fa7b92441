"""Adadelta: steps as large as the last ones were, so that they have the parameter's unit.

Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, Algorithm 1::

    v_t = ρ v_{t-1} + (1 - ρ) g_t²
    d_t = √(u_{t-1} + ε) / √(v_t + ε) · g_t
    u_t = ρ u_{t-1} + (1 - ρ) d_t²
    θ_t = θ_{t-1} - α d_t

The paper has no learning rate, that is α = 1, and uses ρ = 0.95; torch's default is 0.9.
"""

from typing import Any

from adamantine.rules.hyperparameters import (
    AVERAGE,
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import sqrt
from adamantine.rules.rmsprop import second_moment
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised


def adadelta(param, grad, square_avg, acc_delta, sign, l2, decay, mix, eps, step_size):
    grad = regularised(param, grad, sign, l2)
    square_avg = second_moment(grad, square_avg, decay, mix)
    delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * grad
    acc_delta = second_moment(delta, acc_delta, decay, mix)
    return param - step_size * delta, square_avg, acc_delta


ADADELTA = Rule(adadelta, ("square_avg", "acc_delta"), nonnegative=("square_avg", "acc_delta"))


def scalars(settings: Settings, _step: float) -> dict[str, Any]:
    """Host scalars; both averages start from zero and their bias cancels, but for ε."""
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "decay": settings["rho"],
        "mix": 1 - settings["rho"],
        "eps": settings["eps"],
        "step_size": settings["lr"],
    }


FAMILY = Family(
    name="adadelta",
    paper="Zeiler 2012, Algorithm 1",
    hyperparameters=(
        LEARNING_RATE,
        Hyperparameter("rho", "rho value", maximum=1.0, search=AVERAGE),
        EPS,
        WEIGHT_DECAY,
    ),
    select=lambda _: ADADELTA,
    scalars=scalars,
)
