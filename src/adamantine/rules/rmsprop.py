"""RMSprop, plain or centered, with or without momentum.

Hinton, lecture 6e of "Neural Networks for Machine Learning" (2012); the centered form is Graves,
"Generating Sequences With Recurrent Neural Networks", 2013, equations 38 to 41::

    s_t = ρ s_{t-1} + (1 - ρ) g_t²
    a_t = ρ a_{t-1} + (1 - ρ) g_t                (centered only)
    d_t = √(s_t - a_t²) + ε
    θ_t = θ_{t-1} - α g_t / d_t                  (momentum: b_t = μ b_{t-1} + g_t / d_t)

Graves adds ε inside the root; torch, and so we, outside of it.
"""

from typing import Any

from adamantine.rules.hyperparameters import (
    AVERAGE,
    EPS,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import absolute, sqrt
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised


def second_moment(grad, square_avg, decay, mix):
    return decay * square_avg + mix * grad * grad


def deviation(square_avg, grad_avg):
    # s - a² is a variance, but rounding makes it slightly negative for steady gradients: without
    # the absolute value the root is NaN (it is so in torch).
    return sqrt(absolute(square_avg - grad_avg * grad_avg))


def rmsprop(param, grad, square_avg, sign, l2, decay, mix, eps, step_size):
    grad = regularised(param, grad, sign, l2)
    square_avg = second_moment(grad, square_avg, decay, mix)
    return param - step_size * (grad / (sqrt(square_avg) + eps)), square_avg


def momentum_rmsprop(
    param, grad, square_avg, momentum_buffer, sign, l2, decay, mix, eps, momentum, step_size
):
    grad = regularised(param, grad, sign, l2)
    square_avg = second_moment(grad, square_avg, decay, mix)
    momentum_buffer = momentum * momentum_buffer + grad / (sqrt(square_avg) + eps)
    return param - step_size * momentum_buffer, square_avg, momentum_buffer


def centered_rmsprop(param, grad, square_avg, grad_avg, sign, l2, decay, mix, eps, step_size):
    grad = regularised(param, grad, sign, l2)
    square_avg = second_moment(grad, square_avg, decay, mix)
    grad_avg = grad_avg + mix * (grad - grad_avg)
    update = grad / (deviation(square_avg, grad_avg) + eps)
    return param - step_size * update, square_avg, grad_avg


def centered_momentum_rmsprop(
    param, grad, square_avg, momentum_buffer, grad_avg,
    sign, l2, decay, mix, eps, momentum, step_size,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    square_avg = second_moment(grad, square_avg, decay, mix)
    grad_avg = grad_avg + mix * (grad - grad_avg)
    update = grad / (deviation(square_avg, grad_avg) + eps)
    momentum_buffer = momentum * momentum_buffer + update
    return param - step_size * momentum_buffer, square_avg, momentum_buffer, grad_avg


RULES = {
    # (momentum, centered): rule
    (False, False): Rule(rmsprop, ("square_avg",), nonnegative=("square_avg",)),
    (True, False): Rule(
        momentum_rmsprop, ("square_avg", "momentum_buffer"), nonnegative=("square_avg",)
    ),
    (False, True): Rule(
        centered_rmsprop, ("square_avg", "grad_avg"), exact=("square_avg", "grad_avg")
    ),
    (True, True): Rule(
        centered_momentum_rmsprop,
        ("square_avg", "momentum_buffer", "grad_avg"),
        exact=("square_avg", "grad_avg"),
    ),
}


def scalars(settings: Settings, _step: float) -> dict[str, Any]:
    """Host scalars; RMSprop has no bias correction, so the step plays no part."""
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "decay": settings["alpha"],
        "mix": 1 - settings["alpha"],
        "eps": settings["eps"],
        "momentum": settings["momentum"],
        "step_size": settings["lr"],
    }


FAMILY = Family(
    name="rmsprop",
    paper="Hinton 2012, lecture 6e; Graves 2013, equations 38-41",
    hyperparameters=(
        LEARNING_RATE,
        EPS,
        MOMENTUM,
        WEIGHT_DECAY,
        Hyperparameter("alpha", "alpha value", search=AVERAGE),
    ),
    select=lambda settings: RULES[settings["momentum"] > 0, bool(settings["centered"])],
    scalars=scalars,
)
