"""Averaged SGD: steps that shrink slowly, and the mean of all places from some step on.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on
Control and Optimization 30, 1992, with the step sizes that Xu, "Towards Optimal One Pass Large
Scale Learning with Averaged Stochastic Gradient Descent", 2011, derives (section 2)::

    θ_t = (1 - λ η_t) θ_{t-1} - η_t g_t
    a_t = a_{t-1} + μ_t (θ_t - a_{t-1})              (a_t = θ_t as long as μ_t = 1)
    η_{t+1} = α (1 + λ α t)^(-c),  η_1 = α
    μ_{t+1} = 1 / max(1, t - t0),  μ_1 = 1

As in torch, whose names for λ and c are ``lambd`` and ``alpha``, η and μ are counters beside the
step: those of a step have been computed in the step before, with the learning rate of then.
"""

from typing import Any

from adamantine.rules.hyperparameters import LEARNING_RATE, WEIGHT_DECAY, Hyperparameter, Search
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def asgd(param, grad, ax, sign, l2, decay, step_size, begins, mix):
    grad = regularised(param, grad, sign, l2)
    param = descend(param, step_size * grad, decay)
    return param, where(begins, param, ax + mix * (param - ax))


ASGD = Rule(asgd, ("ax",))


def scalars(settings: Settings, step: float, eta: float, mu: float) -> dict[str, Any]:
    """Host scalars of step `step`, and the η and μ of the next one."""
    lr, lambd = settings["lr"], settings["lambd"]
    averaged = step - settings["t0"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "decay": lambd * eta,
        "step_size": eta,
        "begins": where(mu == 1, 1.0, 0.0),
        "mix": mu,
        "eta": lr / (1 + lambd * lr * step) ** settings["alpha"],
        "mu": 1 / where(averaged > 1, averaged, 1.0),
    }


FAMILY = Family(
    name="asgd",
    paper="Polyak and Juditsky 1992; Xu 2011, section 2",
    hyperparameters=(
        LEARNING_RATE,
        WEIGHT_DECAY,
        Hyperparameter("lambd", "lambd value", search=Search(1e-6, 1e-2)),
        Hyperparameter("alpha", "alpha value"),
        Hyperparameter("t0", "t0 value"),
    ),
    select=lambda _: ASGD,
    scalars=scalars,
    counters=("step", "eta", "mu"),
    initial=lambda settings: {"eta": settings["lr"], "mu": 1.0},
)
