"""Adan: Nesterov's momentum in Adam, from the difference of two gradients in a row.

Xie et al., "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models", 2022
(IEEE TPAMI 2024), Algorithm 1, in the authors' code's notation, whose β are the paper's 1 - β::

    m_t = β1 m_{t-1} + (1 - β1) g_t
    v_t = β2 v_{t-1} + (1 - β2) (g_t - g_{t-1})
    n_t = β3 n_{t-1} + (1 - β3) (g_t + β2 (g_t - g_{t-1}))²
    u_t = (m_t / (1 - β1^t) + β2 v_t / (1 - β2^t)) / (√(n_t / (1 - β3^t)) + ε)
    θ_t = (θ_{t-1} - α u_t) / (1 + α λ)

As in the code and not as in the paper: ε is outside of the root, averages start at zero and are
corrected for it (the paper starts them at the first gradient), and there is no restart. The
division by 1 + αλ is the proximal form of decoupled weight decay; ``no_prox`` asks for AdamW's,
(1 - αλ) θ_{t-1} - α u_t. In the first step g_{t-1} is g_t.
"""

from dataclasses import replace
from typing import Any

from adamantine.rules.adam import adaptive
from adamantine.rules.cautious import RESCALE, agreement, cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.weight_decay import descend


def difference(grad, neg_pre_grad, first):
    return grad + where(first, -grad, neg_pre_grad)


def first_order(grad, change, exp_avg, exp_avg_diff, mix1, mix2):
    return exp_avg + mix1 * (grad - exp_avg), exp_avg_diff + mix2 * (change - exp_avg_diff)


def adan(
    param, grad, exp_avg, exp_avg_sq, exp_avg_diff, neg_pre_grad,
    sign, mix1, beta2, mix2, decay3, mix3, decay, step_size, diff_size, inv_sqrt_bias3, eps,
    first, rescale,
):  # fmt: skip
    grad = sign * grad
    change = difference(grad, neg_pre_grad, first)
    exp_avg, exp_avg_diff = first_order(grad, change, exp_avg, exp_avg_diff, mix1, mix2)
    ahead = grad + beta2 * change
    exp_avg_sq = decay3 * exp_avg_sq + mix3 * ahead * ahead
    direction = step_size * exp_avg + diff_size * exp_avg_diff
    update = adaptive(direction, exp_avg_sq, inv_sqrt_bias3, eps)
    update = cautious(update, direction, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_sq, exp_avg_diff, -grad


def direction_agrees(
    grad, exp_avg, exp_avg_diff, neg_pre_grad, sign, mix1, mix2, step_size, diff_size, first
):
    grad = sign * grad
    change = difference(grad, neg_pre_grad, first)
    exp_avg, exp_avg_diff = first_order(grad, change, exp_avg, exp_avg_diff, mix1, mix2)
    return (agreement(step_size * exp_avg + diff_size * exp_avg_diff, grad),)


ADAN = Rule(
    adan, ("exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad"), nonnegative=("exp_avg_sq",)
)


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars. ``(θ - u) / (1 + αλ)`` is ``θ - (u + αλ θ) / (1 + αλ)``: a matter of scale."""
    lr = settings["lr"]
    beta1, beta2, beta3 = settings["betas"]
    decay = lr * settings["weight_decay"]
    scale = 1.0 if settings["no_prox"] else 1 / (1 + decay)
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - beta1,
        "beta2": beta2,
        "mix2": 1 - beta2,
        "decay3": beta3,
        "mix3": 1 - beta3,
        "decay": scale * decay,
        "step_size": scale * lr / (1 - beta1**step),
        "diff_size": scale * lr * beta2 / (1 - beta2**step),
        "inv_sqrt_bias3": (1 - beta3**step) ** -0.5,
        "eps": settings["eps"],
        "first": where(step == 1, 1.0, 0.0),
        **RESCALE,
    }


FAMILY = Family(
    name="adan",
    paper="Xie et al. 2022, Algorithm 1",
    hyperparameters=(LEARNING_RATE, EPS, replace(BETAS, count=3), WEIGHT_DECAY),
    select=with_cautious_form(ADAN, direction_agrees),
    scalars=scalars,
)
