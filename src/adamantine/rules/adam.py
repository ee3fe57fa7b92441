"""Adam, AMSGrad and AdamW: one rule whose weight decay is coupled or decoupled.

Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1::

    m_t = β1 m_{t-1} + (1 - β1) g_t
    v_t = β2 v_{t-1} + (1 - β2) g_t²
    θ_t = θ_{t-1} - α (m_t / (1 - β1^t)) / (√(v_t / (1 - β2^t)) + ε)

Many tutorials print the last line as ``θ - α m_t / (√v_t + ε)``, without the bias corrections
that their own text asks for: the first steps are then far too long, since v starts at zero and
(1 - β2) is a thousandth.

AMSGrad (Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, Algorithm 2)
divides by the largest v so far. As torch does, the maximum is taken of the uncorrected v.

AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2)
shrinks θ itself by ``1 - α λ``; it does not add λθ to the gradient (L2), which the division by √v
would rescale away exactly where gradients are large.

Cautious: see :mod:`.cautious`. What else the decay can be: :mod:`.weight_decay`.
"""

from typing import Any

from adamantine.rules.cautious import RESCALE, cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import maximum, sqrt
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import decay_of, descend


def moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2):
    # m + (1-β1)(g - m), as torch's lerp: the same value, and the same NaN after an infinite g.
    exp_avg = exp_avg + mix1 * (grad - exp_avg)
    exp_avg_sq = decay2 * exp_avg_sq + mix2 * grad * grad
    return exp_avg, exp_avg_sq


def adaptive(momentum, exp_avg_sq, inv_sqrt_bias2, eps):
    return momentum / (sqrt(exp_avg_sq) * inv_sqrt_bias2 + eps)


def adam(
    param, grad, exp_avg, exp_avg_sq,
    sign, l2, mix1, decay2, mix2, decay, step_size, inv_sqrt_bias2, eps, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg, exp_avg_sq = moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = adaptive(step_size * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    update = cautious(update, exp_avg, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_sq


def amsgrad(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq,
    sign, l2, mix1, decay2, mix2, decay, step_size, inv_sqrt_bias2, eps, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg, exp_avg_sq = moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
    update = adaptive(step_size * exp_avg, max_exp_avg_sq, inv_sqrt_bias2, eps)
    update = cautious(update, exp_avg, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_sq, max_exp_avg_sq


ADAM = Rule(adam, ("exp_avg", "exp_avg_sq"), nonnegative=("exp_avg_sq",))
AMSGRAD = Rule(
    amsgrad,
    ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    nonnegative=("exp_avg_sq", "max_exp_avg_sq"),
)

PLAIN, WITH_MAXIMUM = with_cautious_form(ADAM), with_cautious_form(AMSGRAD)


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; ``1 - β`` and ``β^t`` in float64."""
    lr, weight_decay = settings["lr"], settings["weight_decay"]
    beta1, beta2 = settings["betas"]
    decoupled = settings["decoupled_weight_decay"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": 0.0 if decoupled else weight_decay,
        "mix1": 1 - beta1,
        "decay2": beta2,
        "mix2": 1 - beta2,
        "decay": decay_of(settings) if decoupled else 0.0,
        "step_size": lr / (1 - beta1**step),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
        **RESCALE,
    }


FAMILY = Family(
    name="adam",
    paper="Kingma and Ba 2015, Algorithm 1; Reddi et al. 2018, Algorithm 2; "
    "Loshchilov and Hutter 2019, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=lambda settings: (WITH_MAXIMUM if settings["amsgrad"] else PLAIN)(settings),
    scalars=scalars,
)
