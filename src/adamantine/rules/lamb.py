"""LAMB: Adam's direction, and steps as long as the tensor that they change.

You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", ICLR 2020,
Algorithm 2, for each tensor (the paper's layer)::

    m_t = β1 m_{t-1} + (1 - β1) g_t
    v_t = β2 v_{t-1} + (1 - β2) g_t²
    r_t = (m_t / (1 - β1^t)) / (√(v_t / (1 - β2^t)) + ε) + λ θ_{t-1}
    θ_t = θ_{t-1} - η (φ(‖θ_{t-1}‖) / ‖r_t‖) r_t

φ is the identity, as in the authors' code, which takes 1 for the quotient where one of the norms
is 0: a tensor of zeros would stay one. That code leaves out the bias corrections; the paper and its
other implementations do not.

Both norms are of whole tensors: :class:`Sums`.
"""

from typing import Any

from adamantine.rules.adam import adaptive, moments
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import sqrt, where
from adamantine.rules.rule import Family, Rule, Settings, Sums


def decayed(param, direction, l2):
    return where(l2, direction + l2 * param, direction)


def lamb(
    param, grad, exp_avg, exp_avg_sq,
    sign, mix1, decay2, mix2, unbias1, inv_sqrt_bias2, eps, l2, lr, trust,
):  # fmt: skip
    exp_avg, exp_avg_sq = moments(sign * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    direction = adaptive(unbias1 * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    return param - lr * trust * decayed(param, direction, l2), exp_avg, exp_avg_sq


def lamb_norms(
    param, grad, exp_avg, exp_avg_sq,
    sign, mix1, decay2, mix2, unbias1, inv_sqrt_bias2, eps, l2,
):  # fmt: skip
    exp_avg, exp_avg_sq = moments(sign * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    direction = adaptive(unbias1 * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    return param, decayed(param, direction, l2)


def trust_ratio(param_squares, direction_squares):
    ratio = sqrt(param_squares) / sqrt(direction_squares)
    return where(param_squares, where(direction_squares, ratio, 1.0), 1.0)


LAMB = Rule(
    lamb,
    ("exp_avg", "exp_avg_sq"),
    sums=Sums(lamb_norms, ("param_squares", "direction_squares"), "squares", "trust", trust_ratio),
    nonnegative=("exp_avg_sq",),
)


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; ``trust`` is each tensor's own."""
    beta1, beta2 = settings["betas"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "unbias1": 1 / (1 - beta1**step),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
        "l2": settings["weight_decay"],
        "lr": settings["lr"],
        "trust": 1.0,
    }


FAMILY = Family(
    name="lamb",
    paper="You et al. 2020, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=lambda _: LAMB,
    scalars=scalars,
)
