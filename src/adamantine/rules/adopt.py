"""ADOPT: Adam that normalises each gradient by what came before it, and then averages.

Taniguchi et al., "ADOPT: Modified Adam Can Converge with Any β2 with the Optimal Rate", NeurIPS
2024, Algorithm 2 (clipped ADOPT, which the authors recommend)::

    v_0 = g_0²                                    (the first step does no more than this)
    n_t = clip(g_t / max(√v_{t-1}, ε), ±c_t),     c_t = t^0.25
    m_t = β1 m_{t-1} + (1 - β1) n_t
    θ_t = θ_{t-1} - α m_t
    v_t = β2 v_{t-1} + (1 - β2) g_t²

Adam divides g_t by a v_t that g_t itself is part of, and their correlation is what can make it
diverge. The clipping came with the paper's second version: where an early g_0 is near zero,
g_1 / ε would throw the parameter far away. Here a parameter's first step is t = 0 above.
"""

from typing import Any

from adamantine.rules.cautious import RESCALE, agreement, cautious, with_cautious_form
from adamantine.rules.hyperparameters import (
    BETAS,
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import maximum, sqrt, where
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def clipped(x, lowest):
    # To ±lowest: the smaller one of x and -lowest is -max(-x, lowest).
    return maximum(-maximum(-x, lowest), lowest)


def averaged(grad, exp_avg, exp_avg_sq, mix1, eps, lowest):
    normalised = clipped(grad / maximum(sqrt(exp_avg_sq), eps), lowest)
    return exp_avg + mix1 * (normalised - exp_avg)


def adopt(
    param, grad, exp_avg, exp_avg_sq,
    sign, l2, mix1, decay2, mix2, decay, step_size, eps, lowest, first, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg = where(first, exp_avg, averaged(grad, exp_avg, exp_avg_sq, mix1, eps, lowest))
    update = cautious(step_size * exp_avg, exp_avg, grad, rescale)
    param = where(first, param, descend(param, update, decay))
    return param, exp_avg, decay2 * exp_avg_sq + mix2 * grad * grad


def average_agrees(param, grad, exp_avg, exp_avg_sq, sign, l2, mix1, eps, lowest):
    grad = regularised(param, grad, sign, l2)
    return (agreement(averaged(grad, exp_avg, exp_avg_sq, mix1, eps, lowest), grad),)


ADOPT = Rule(adopt, ("exp_avg", "exp_avg_sq"), nonnegative=("exp_avg_sq",))


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars; without a `clip_exp` the bound is infinite."""
    lr, weight_decay, clip_exp = settings["lr"], settings["weight_decay"], settings["clip_exp"]
    beta1, beta2 = settings["betas"]
    decoupled = settings["decoupled_weight_decay"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": 0.0 if decoupled else weight_decay,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": where(step == 1, 1.0, 1 - beta2),  # v starts as the first gradient's square
        "decay": lr * weight_decay if decoupled else 0.0,
        "step_size": lr,
        "eps": settings["eps"],
        "lowest": -(float("inf") if clip_exp is None else (step - 1) ** clip_exp),
        "first": where(step == 1, 1.0, 0.0),
        **RESCALE,
    }


FAMILY = Family(
    name="adopt",
    paper="Taniguchi et al. 2024, Algorithm 2",
    hyperparameters=(
        LEARNING_RATE,
        EPS,
        BETAS,
        WEIGHT_DECAY,
        Hyperparameter("clip_exp", "clip_exp value", optional=True),
    ),
    select=with_cautious_form(ADOPT, average_agrees),
    scalars=scalars,
)
