"""MARS: AdamW and Lion on gradients whose variance is reduced.

Yuan, Liu, Wu, Zhou and Gu, "MARS: Unleashing the Power of Variance Reduction for Training Large
Models", 2024 (ICML 2025), Algorithms 2 (AdamW) and 3 (Lion) with the approximation of section 3.4,
which takes the last step's gradient for the last parameters' gradient on this step's data::

    c_t = g_t + γ β1 / (1 - β1) (g_t - g_{t-1})
    c_t = c_t / max(1, ‖c_t‖)                       (norm over one tensor)
    m_t = β1 m_{t-1} + (1 - β1) c_t

AdamW: v_t = β2 v_{t-1} + (1 - β2) c_t², θ_t = θ_{t-1} - η (m̂_t / (√v̂_t + ε) + λ θ_{t-1})

Lion: θ_t = θ_{t-1} - η (sign(m_t) + λ θ_{t-1})

As in the paper, which begins with x_1 = x_0, the first gradient has no difference; the authors'
code takes 0 for the gradient before it.
"""

from typing import Any

from adamantine.rules.adam import adaptive, moments
from adamantine.rules.hyperparameters import (
    AVERAGE,
    BETAS,
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
    Search,
)
from adamantine.rules.ops import maximum, signum, sqrt, where
from adamantine.rules.rule import Family, Rule, Settings, Sums
from adamantine.rules.weight_decay import descend


def corrected(grad, last_grad, gain):
    return grad + where(gain, gain * (grad - last_grad), gain)


def mars_adamw(
    param, grad, exp_avg, exp_avg_sq, last_grad,
    sign, gain, mix1, decay2, mix2, decay, step_size, inv_sqrt_bias2, eps, shrink,
):  # fmt: skip
    grad = sign * grad
    change = shrink * corrected(grad, last_grad, gain)
    exp_avg, exp_avg_sq = moments(change, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = adaptive(step_size * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    return descend(param, update, decay), exp_avg, exp_avg_sq, grad


def mars_lion(param, grad, exp_avg, last_grad, sign, gain, mix1, decay, step_size, shrink):
    grad = sign * grad
    change = shrink * corrected(grad, last_grad, gain)
    exp_avg = exp_avg + mix1 * (change - exp_avg)
    return descend(param, step_size * signum(exp_avg), decay), exp_avg, grad


def corrected_norm(grad, last_grad, sign, gain):
    return (corrected(sign * grad, last_grad, gain),)


def shrinking(squares):
    return 1 / maximum(sqrt(squares), 1.0)


NORM = Sums(corrected_norm, ("squares",), "squares", "shrink", shrinking)
MARS_ADAMW = Rule(
    mars_adamw, ("exp_avg", "exp_avg_sq", "last_grad"), sums=NORM, nonnegative=("exp_avg_sq",)
)
MARS_LION = Rule(mars_lion, ("exp_avg", "last_grad"), sums=NORM)


def common_scalars(settings: Settings, step: float, beta1: float) -> dict[str, Any]:
    """Host scalars that both have; ``shrink`` is each tensor's own."""
    lr = settings["lr"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "gain": where(step == 1, 0.0, settings["gamma"] * beta1 / (1 - beta1)),
        "mix1": 1 - beta1,
        "decay": lr * settings["weight_decay"],
        "step_size": lr,
        "shrink": 1.0,
    }


def adamw_scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`."""
    beta1, beta2 = settings["betas"]
    return {
        **common_scalars(settings, step, beta1),
        "decay2": beta2,
        "mix2": 1 - beta2,
        "step_size": settings["lr"] / (1 - beta1**step),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
    }


def lion_scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`."""
    return common_scalars(settings, step, settings["beta"])


BETA = Hyperparameter("beta", "beta parameter", below=1.0, search=AVERAGE)
GAMMA = Hyperparameter("gamma", "gamma value", search=Search(0.1, 10, of_default=True))

ADAMW_FAMILY = Family(
    name="mars-adamw",
    paper="Yuan et al. 2024, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY, GAMMA),
    select=lambda _: MARS_ADAMW,
    scalars=adamw_scalars,
)
LION_FAMILY = Family(
    name="mars-lion",
    paper="Yuan et al. 2024, Algorithm 3",
    hyperparameters=(LEARNING_RATE, BETA, WEIGHT_DECAY, GAMMA),
    select=lambda _: MARS_LION,
    scalars=lion_scalars,
)
