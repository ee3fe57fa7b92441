"""Lion: steps of one size, by the sign of an interpolation between momentum and gradient.

Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, Algorithm 2::

    c_t = β1 m_{t-1} + (1 - β1) g_t
    θ_t = θ_{t-1} - η (sign(c_t) + λ θ_{t-1})
    m_t = β2 m_{t-1} + (1 - β2) g_t

A NaN makes the parameter NaN, as in the JAX code that the paper's experiments ran on. The authors'
PyTorch version calls ``torch.sign``, which is 0 for NaN: there a parameter whose momentum is NaN
stands still for ever, and nobody is told.
"""

from typing import Any

from adamantine.rules.cautious import RESCALE, agreement, cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.ops import signum
from adamantine.rules.rule import Family, Rule, Settings
from adamantine.rules.weight_decay import decay_of, descend


def lion(param, grad, exp_avg, sign, mix1, mix2, decay, step_size, rescale):
    grad = sign * grad
    direction = exp_avg + mix1 * (grad - exp_avg)
    update = cautious(step_size * signum(direction), direction, grad, rescale)
    return descend(param, update, decay), exp_avg + mix2 * (grad - exp_avg)


def direction_agrees(grad, exp_avg, sign, mix1):
    grad = sign * grad
    return (agreement(exp_avg + mix1 * (grad - exp_avg), grad),)


LION = Rule(lion, ("exp_avg",))


def scalars(settings: Settings, _step: float) -> dict[str, Any]:
    """Host scalars; nothing depends on the step."""
    lr = settings["lr"]
    beta1, beta2 = settings["betas"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - beta1,
        "mix2": 1 - beta2,
        "decay": decay_of(settings),
        "step_size": lr,
        **RESCALE,
    }


FAMILY = Family(
    name="lion",
    paper="Chen et al. 2023, Algorithm 2",
    hyperparameters=(LEARNING_RATE, BETAS, WEIGHT_DECAY),
    select=with_cautious_form(LION, direction_agrees),
    scalars=scalars,
    counters=(),
)
