"""StableAdamW: AdamW whose steps are shorter where gradients outgrow their second moment.

Wortsman et al., "Stable and low-precision training for large-scale vision-language models",
NeurIPS 2023, Algorithm 2: AdamW with AdaFactor's clipping of updates, for each tensor::

    v_t = β1 v_{t-1} + (1 - β1) g_t        u_t = β2 u_{t-1} + (1 - β2) g_t²    (bias-corrected)
    RMS_t = √mean(g_t² / max(u_t, ε²))
    η_t = α / max(1, RMS_t)
    θ_t = θ_{t-1} - η_t λ θ_{t-1} - η_t v_t / (√u_t + ε)

The paper puts the bias corrections into the decay rates; that is the same.
"""

from typing import Any

from adamantine.rules.adam import adaptive, moments
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.lamb import decayed
from adamantine.rules.ops import maximum, sqrt
from adamantine.rules.rule import Family, Rule, Settings, Sums


def stable_adamw(
    param, grad, exp_avg, exp_avg_sq,
    sign, mix1, decay2, mix2, decay, step_size, inv_sqrt_bias2, eps, shorten,
):  # fmt: skip
    exp_avg, exp_avg_sq = moments(sign * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = adaptive(step_size * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    return param - shorten * decayed(param, update, decay), exp_avg, exp_avg_sq


def surprise(grad, exp_avg_sq, sign, decay2, mix2, inv_sqrt_bias2, eps):
    grad = sign * grad
    exp_avg_sq = decay2 * exp_avg_sq + mix2 * grad * grad
    return (grad / maximum(sqrt(exp_avg_sq) * inv_sqrt_bias2, eps),)


def shortening(squares, elements):
    return 1 / maximum(sqrt(squares / elements), 1.0)


STABLE_ADAMW = Rule(
    stable_adamw,
    ("exp_avg", "exp_avg_sq"),
    sums=Sums(surprise, ("squares",), "squares", "shorten", shortening),
    nonnegative=("exp_avg_sq",),
)


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; ``shorten`` is each tensor's own."""
    lr, (beta1, beta2) = settings["lr"], settings["betas"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "decay": lr * settings["weight_decay"],
        "step_size": lr / (1 - beta1**step),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
        "shorten": 1.0,
    }


FAMILY = Family(
    name="stable-adamw",
    paper="Wortsman et al. 2023, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=lambda _: STABLE_ADAMW,
    scalars=scalars,
)
