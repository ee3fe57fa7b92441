"""RAdam: Adam that waits until its second moment is known well enough to divide by.

Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020, Algorithm 2::

    ρ_∞ = 2 / (1 - β2) - 1
    m_t, v_t as in Adam
    ρ_t = ρ_∞ - 2t β2^t / (1 - β2^t)                       (how many gradients v_t has averaged)
    r_t = √((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t))
    θ_t = θ_{t-1} - α m_t / (1 - β1^t) · r_t √(1 - β2^t) / (√v_t + ε)    if ρ_t > 5
    θ_t = θ_{t-1} - α m_t / (1 - β1^t)                                    if not

The paper divides from ρ_t > 4 on, where r_t begins; its authors' code and torch, and so we, from
5. Nor has the paper an ε. Here it is added to the uncorrected root, so that it weighs more in early
steps than Adam's. r_t depends on the step alone, so all of this is arithmetic of the host.
"""

from typing import Any

from adamantine.rules.adam import moments
from adamantine.rules.cautious import RESCALE, cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import sqrt, where
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def radam(
    param, grad, exp_avg, exp_avg_sq,
    sign, l2, mix1, decay2, mix2, decay, step_size, rectified, eps, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg, exp_avg_sq = moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = step_size * exp_avg
    update = where(rectified, update / (sqrt(exp_avg_sq) + eps), update)
    update = cautious(update, exp_avg, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_sq


RADAM = Rule(radam, ("exp_avg", "exp_avg_sq"), nonnegative=("exp_avg_sq",))


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`."""
    lr, weight_decay = settings["lr"], settings["weight_decay"]
    beta1, beta2 = settings["betas"]
    decoupled = settings["decoupled_weight_decay"]
    bias2 = 1 - beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / bias2
    rectified = length > 5
    # Below that the fraction may be negative, or have a zero below.
    above = where(rectified, (length - 4) * (length - 2) * longest, 1.0)
    below = where(rectified, (longest - 4) * (longest - 2) * length, 1.0)
    factor = where(rectified, (above / below * bias2) ** 0.5, 1.0)
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": 0.0 if decoupled else weight_decay,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "decay": lr * weight_decay if decoupled else 0.0,
        "step_size": lr / (1 - beta1**step) * factor,
        "rectified": where(rectified, 1.0, 0.0),
        "eps": settings["eps"],
        **RESCALE,
    }


FAMILY = Family(
    name="radam",
    paper="Liu et al. 2020, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=with_cautious_form(RADAM),
    scalars=scalars,
)
