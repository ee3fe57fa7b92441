"""AdEMAMix: Adam with a second, slow average of gradients beside the fast one.

Pagliardini, Ablin and Grangier, "The AdEMAMix Optimizer: Better, Faster, Older", 2024 (ICLR 2025),
Algorithm 1::

    m1_t = β1 m1_{t-1} + (1 - β1) g_t
    m2_t = β3(t) m2_{t-1} + (1 - β3(t)) g_t
    v_t = β2 v_{t-1} + (1 - β2) g_t²
    θ_t = θ_{t-1} - γ ((m1_t / (1 - β1^t) + α(t) m2_t) / (√(v_t / (1 - β2^t)) + ε) + λ θ_{t-1})

m2 is not corrected for starting at zero. Over their warm-ups, α(t) grows linearly to α, and β3(t)
from β1 to β3 so that its half-life, 1/ln β, does (the paper's equation for β3(t), turned around).
"""

from dataclasses import replace
from math import e, log
from typing import Any

from adamantine.rules.adam import adaptive, moments
from adamantine.rules.cautious import RESCALE, agreement, cautious, with_cautious_form
from adamantine.rules.hyperparameters import (
    BETAS,
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
    Search,
)
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.weight_decay import descend


def mixed(grad, exp_avg_fast, exp_avg_slow, mix3, fast_size, slow_size):
    exp_avg_slow = exp_avg_slow + mix3 * (grad - exp_avg_slow)
    return fast_size * exp_avg_fast + slow_size * exp_avg_slow, exp_avg_slow


def ademamix(
    param, grad, exp_avg_fast, exp_avg_slow, exp_avg_sq,
    sign, mix1, mix3, decay2, mix2, decay, fast_size, slow_size, inv_sqrt_bias2, eps, rescale,
):  # fmt: skip
    grad = sign * grad
    exp_avg_fast, exp_avg_sq = moments(grad, exp_avg_fast, exp_avg_sq, mix1, decay2, mix2)
    direction, exp_avg_slow = mixed(grad, exp_avg_fast, exp_avg_slow, mix3, fast_size, slow_size)
    update = adaptive(direction, exp_avg_sq, inv_sqrt_bias2, eps)
    update = cautious(update, direction, grad, rescale)
    return descend(param, update, decay), exp_avg_fast, exp_avg_slow, exp_avg_sq


def mixture_agrees(grad, exp_avg_fast, exp_avg_slow, sign, mix1, mix3, fast_size, slow_size):
    grad = sign * grad
    exp_avg_fast = exp_avg_fast + mix1 * (grad - exp_avg_fast)
    direction, _ = mixed(grad, exp_avg_fast, exp_avg_slow, mix3, fast_size, slow_size)
    return (agreement(direction, grad),)


ADEMAMIX = Rule(
    ademamix, ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq"), nonnegative=("exp_avg_sq",)
)


def inverse_log(beta: float) -> float:
    return 1 / log(beta) if beta > 0 else 0.0


def warmed_up(beta3: float, beta1: float, warmup: float | None, step: float) -> Any:
    """The β3 of step `step`."""
    if not warmup or beta3 == 0:
        return beta3
    share = where(step < warmup, step / warmup, 1.0)
    inverse = (1 - share) * inverse_log(beta1) + share * inverse_log(beta3)
    return where(step < warmup, e ** (1 / inverse), beta3)


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`."""
    lr, warmup = settings["lr"], settings["alpha_warmup"]
    beta1, beta2, beta3 = settings["betas"]
    beta3 = warmed_up(beta3, beta1, settings["beta3_warmup"], step)
    share = where(step < warmup, step / warmup, 1.0) if warmup else 1.0
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - beta1,
        "mix3": 1 - beta3,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "decay": lr * settings["weight_decay"],
        "fast_size": lr / (1 - beta1**step),
        "slow_size": lr * settings["alpha"] * share,
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
        **RESCALE,
    }


FAMILY = Family(
    name="ademamix",
    paper="Pagliardini et al. 2024, Algorithm 1",
    hyperparameters=(
        LEARNING_RATE,
        EPS,
        replace(BETAS, count=3),
        WEIGHT_DECAY,
        Hyperparameter("alpha", "alpha value", search=Search(0.5, 20)),
        Hyperparameter("beta3_warmup", "beta3_warmup value", optional=True),
        Hyperparameter("alpha_warmup", "alpha_warmup value", optional=True),
    ),
    select=with_cautious_form(ADEMAMIX, mixture_agrees),
    scalars=scalars,
)
