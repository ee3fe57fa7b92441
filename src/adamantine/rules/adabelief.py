"""AdaBelief: Adam that divides by how far gradients are from what was expected of them.

Zhuang et al., "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
NeurIPS 2020, Algorithm 2::

    m_t = β1 m_{t-1} + (1 - β1) g_t
    s_t = β2 s_{t-1} + (1 - β2) (g_t - m_t)² + ε
    θ_t = θ_{t-1} - α (m_t / (1 - β1^t)) / (√(s_t / (1 - β2^t)) + ε)

ε enters twice, and the first one stays in s, so that after many steps of gradients that are as
expected s is ε / (1 - β2). So it is in the authors' code. (The paper's first version on arXiv lacks
that ε, its appendix adds it to a copy of s.) Without it gradients that do not change would be
divided by nearly nothing.

The authors' package can add AMSGrad and RAdam's rectification, which are other papers' ideas; the
second is on by default from its version 0.1 on, and ``rectify=False`` gives what is here.
"""

from adamantine.rules.adam import adaptive, scalars
from adamantine.rules.cautious import cautious, with_cautious_form
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY
from adamantine.rules.rule import Family, Rule
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def adabelief(
    param, grad, exp_avg, exp_avg_var,
    sign, l2, mix1, decay2, mix2, decay, step_size, inv_sqrt_bias2, eps, rescale,
):  # fmt: skip
    grad = regularised(param, grad, sign, l2)
    exp_avg = exp_avg + mix1 * (grad - exp_avg)
    surprise = grad - exp_avg
    exp_avg_var = decay2 * exp_avg_var + mix2 * surprise * surprise + eps
    update = adaptive(step_size * exp_avg, exp_avg_var, inv_sqrt_bias2, eps)
    update = cautious(update, exp_avg, grad, rescale)
    return descend(param, update, decay), exp_avg, exp_avg_var


ADABELIEF = Rule(adabelief, ("exp_avg", "exp_avg_var"), nonnegative=("exp_avg_var",))


FAMILY = Family(
    name="adabelief",
    paper="Zhuang et al. 2020, Algorithm 2",
    hyperparameters=(LEARNING_RATE, EPS, BETAS, WEIGHT_DECAY),
    select=with_cautious_form(ADABELIEF),
    scalars=scalars,  # Adam's: the two differ in what they average, not in how
)
