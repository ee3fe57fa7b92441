"""LARS: SGD with momentum whose steps are a fraction of the tensor that they change.

You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017, Algorithm 1, for
each tensor (the paper's layer)::

    γ^l = η ‖w_{t-1}‖ / (‖g_t‖ + β ‖w_{t-1}‖)
    v_t = m v_{t-1} + γ γ^l (g_t + β w_{t-1})
    w_t = w_{t-1} - v_t

with m the momentum and β the weight decay. The schedule of γ is the user's. As in the authors'
code (NVIDIA's Caffe), γ^l is 1 where one of the norms is 0: a tensor of zeros would stay one.
"""

from typing import Any

from adamantine.rules.hyperparameters import (
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.lamb import decayed
from adamantine.rules.ops import sqrt, where
from adamantine.rules.rule import Family, Rule, Settings, Sums


def lars(param, grad, momentum_buffer, sign, l2, momentum, trust_coefficient, lr, local_rate):  # noqa: ARG001 - for `local_rate_of`
    step = lr * local_rate * decayed(param, sign * grad, l2)
    momentum_buffer = momentum * momentum_buffer + step
    return param - momentum_buffer, momentum_buffer


def lars_norms(param, grad, sign):
    return param, sign * grad


def local_rate_of(param_squares, grad_squares, l2, trust_coefficient):
    size = sqrt(param_squares)
    rate = trust_coefficient * size / (sqrt(grad_squares) + l2 * size)
    return where(param_squares, where(grad_squares, rate, 1.0), 1.0)


LARS = Rule(
    lars,
    ("momentum_buffer",),
    sums=Sums(
        lars_norms, ("param_squares", "grad_squares"), "squares", "local_rate", local_rate_of
    ),
)


def scalars(settings: Settings, _step: float) -> dict[str, Any]:
    """Host scalars; ``local_rate`` is each tensor's own."""
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "momentum": settings["momentum"],
        "trust_coefficient": settings["trust_coefficient"],
        "lr": settings["lr"],
        "local_rate": 1.0,
    }


FAMILY = Family(
    name="lars",
    paper="You, Gitman and Ginsburg 2017, Algorithm 1",
    hyperparameters=(
        LEARNING_RATE,
        MOMENTUM,
        WEIGHT_DECAY,
        Hyperparameter("trust_coefficient", "trust_coefficient value"),
    ),
    select=lambda _: LARS,
    scalars=scalars,
    counters=(),
)
