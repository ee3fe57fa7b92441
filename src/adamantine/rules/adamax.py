"""Adamax: Adam with the infinity norm in place of the second moment.

Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 2::

    m_t = β1 m_{t-1} + (1 - β1) g_t
    u_t = max(β2 u_{t-1}, |g_t|)
    θ_t = θ_{t-1} - (α / (1 - β1^t)) m_t / u_t

The paper divides by zero where all gradients so far were zero; torch, and so we, add ε to |g_t|.
"""

from typing import Any

from adamantine.rules.cautious import RESCALE, cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import absolute, maximum
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised


def adamax(param, grad, exp_avg, exp_inf, sign, l2, mix1, decay2, eps, step_size, rescale):
    grad = regularised(param, grad, sign, l2)
    exp_avg = exp_avg + mix1 * (grad - exp_avg)
    exp_inf = maximum(decay2 * exp_inf, absolute(grad) + eps)
    update = cautious(step_size * exp_avg / exp_inf, exp_avg, grad, rescale)
    return param - update, exp_avg, exp_inf


ADAMAX = Rule(adamax, ("exp_avg", "exp_inf"), nonnegative=("exp_inf",))


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; only the first moment needs a bias correction."""
    beta1, beta2 = settings["betas"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": settings["weight_decay"],
        "mix1": 1 - beta1,
        "decay2": beta2,
        "eps": settings["eps"],
        "step_size": settings["lr"] / (1 - beta1**step),
        **RESCALE,
    }


FAMILY = Family(
    name="adamax",
    paper="Kingma and Ba 2015, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=with_cautious_form(ADAMAX),
    scalars=scalars,
)
