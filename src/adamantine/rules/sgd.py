"""Stochastic gradient descent, plain, with momentum, and Nesterov's.

Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
learning", ICML 2013, in torch's form, where the learning rate multiplies the whole velocity::

    b_t = μ b_{t-1} + (1 - dampening) g_t        (b_1 = g_1, undampened)
    θ_t = θ_{t-1} - α b_t                        (Nesterov: - α (g_t + μ b_t))

The paper writes ``v_t = μ v_{t-1} - α g_t``: the two agree for a constant α only.
"""

from dataclasses import replace
from typing import Any

from adamantine.rules.hyperparameters import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Search
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Rule, Settings


def regularised(param, grad, sign, l2):
    grad = sign * grad
    return where(l2, grad + l2 * param, grad)


def sgd(param, grad, sign, l2, step_size):
    return (param - step_size * regularised(param, grad, sign, l2),)


def momentum_sgd(param, grad, momentum_buffer, sign, l2, momentum, mix, nesterov, step_size):
    grad = regularised(param, grad, sign, l2)
    momentum_buffer = momentum * momentum_buffer + mix * grad
    update = where(nesterov, grad + nesterov * momentum_buffer, momentum_buffer)
    return param - step_size * update, momentum_buffer


SGD = Rule(sgd, ())
MOMENTUM_SGD = Rule(momentum_sgd, ("momentum_buffer",))


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars; in the first step the buffer becomes the gradient itself."""
    momentum = settings["momentum"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "momentum": momentum,
        "mix": where(step == 1, 1.0, 1 - settings["dampening"]),
        "nesterov": momentum if settings["nesterov"] else 0.0,
        "step_size": settings["lr"],
    }


FAMILY = Family(
    name="sgd",
    paper="Sutskever et al. 2013, section 2",
    # Good rates lie far above torch's default, and spread as widely as gradients do.
    hyperparameters=(
        replace(LEARNING_RATE, search=Search(1e-1, 1e4, of_default=True)),
        MOMENTUM,
        WEIGHT_DECAY,
    ),
    select=lambda settings: MOMENTUM_SGD if settings["momentum"] != 0 else SGD,
    scalars=scalars,
    counters=(),
)
