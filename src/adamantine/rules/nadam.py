"""NAdam: Adam with Nesterov's momentum, which is warmed up.

Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016::

    μ_t = β1 (1 - ½ · 0.96^(tψ))
    m_t, v_t as in Adam
    θ_t = θ_{t-1} - α (μ_{t+1} m_t / (1 - μ_1 … μ_{t+1}) + (1 - μ_t) g_t / (1 - μ_1 … μ_t))
                      / (√(v_t / (1 - β2^t)) + ε)

The schedule of μ comes from Dozat's report of 2015, where ψ = 1/250. As in torch, m is averaged
with β1 itself, and μ weighs m against g. The product of the μ is a counter beside the step, since
β1 and ψ may change on the way.
"""

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
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def nadam(
    param, grad, exp_avg, exp_avg_sq,
    sign, l2, mix1, decay2, mix2, decay, grad_size, step_size, inv_sqrt_bias2, eps, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg, exp_avg_sq = moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    ahead = grad_size * grad + step_size * exp_avg
    update = adaptive(ahead, exp_avg_sq, inv_sqrt_bias2, eps)
    update = cautious(update, ahead, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_sq


def ahead_agrees(param, grad, exp_avg, sign, l2, mix1, grad_size, step_size):
    grad = regularised(param, grad, sign, l2)
    exp_avg = exp_avg + mix1 * (grad - exp_avg)
    return (agreement(grad_size * grad + step_size * exp_avg, grad),)


NADAM = Rule(nadam, ("exp_avg", "exp_avg_sq"), nonnegative=("exp_avg_sq",))


def scalars(settings: Settings, step: float, mu_product: float) -> dict[str, Any]:
    """Host scalars of step `step`, and the new product of the momenta."""
    lr, weight_decay = settings["lr"], settings["weight_decay"]
    beta1, beta2 = settings["betas"]
    decoupled = settings["decoupled_weight_decay"]
    mu, next_mu = (
        beta1 * (1 - 0.5 * 0.96 ** (t * settings["momentum_decay"])) for t in (step, step + 1)
    )
    mu_product = mu_product * mu
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": 0.0 if decoupled else weight_decay,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "decay": lr * weight_decay if decoupled else 0.0,
        "grad_size": lr * (1 - mu) / (1 - mu_product),
        "step_size": lr * next_mu / (1 - mu_product * next_mu),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
        **RESCALE,
        "mu_product": mu_product,
    }


FAMILY = Family(
    name="nadam",
    paper="Dozat 2016",
    hyperparameters=(
        LEARNING_RATE,
        EPS,
        BETAS,
        WEIGHT_DECAY,
        Hyperparameter("momentum_decay", "momentum_decay value", search=Search(1e-4, 1e-1)),
    ),
    select=with_cautious_form(NADAM, ahead_agrees),
    scalars=scalars,
    counters=("step", "mu_product"),
    initial=lambda _: {"mu_product": 1.0},
)
