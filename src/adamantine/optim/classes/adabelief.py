"""AdaBelief."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adabelief import FAMILY


class AdaBelief(RuleOptimizer):
    r"""Adam with large steps where gradients are as expected, and small steps where they are not.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta` for a
    `weight_decay` that is not decoupled):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        s_t &= \beta_2 s_{t-1} + (1-\beta_2)\, (g_t - m_t)^2 + \epsilon \\
        \theta_t &= \theta_{t-1}
            - \gamma\, \frac{m_t/(1-\beta_1^t)}{\sqrt{s_t/(1-\beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    eps
        :math:`\epsilon \ge 0`, added to the root, and in every step also to the variance under it.
        There it accumulates to :math:`\epsilon/(1-\beta_2)`, in units of the gradient *squared*.
        1e-16 suits models that train well with Adam; for models that train well with SGD, the
        authors recommend 1e-8.
    weight_decay
        :math:`\lambda \ge 0`.
    decoupled_weight_decay
        True: shrink the parameter by a share :math:`\gamma\lambda`, as :class:`adamantine.AdamW`
        does. False: add an L2 penalty to the gradient.
    params, foreach, maximize, capturable, differentiable, fused, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Problems on which Adam trains faster but SGD ends better: the authors show image classification,
    GANs and LSTMs.

    Not for
    -------
    Gradients that are tiny or barely change, as late in the training of small models: then
    :math:`\epsilon` alone is the divisor, and the result depends on it.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    :math:`\epsilon` stays in :math:`s`, as in the paper's main text and in the authors' code; the
    paper's appendix adds it to a copy. The authors' package ``adabelief-pytorch`` also has AMSGrad,
    and RAdam's rectification, which is on unless ``rectify=False`` is given; this class has
    neither. Their `weight_decouple` is our `decoupled_weight_decay`.

    References
    ----------
    Zhuang et al., `AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients
    <https://arxiv.org/abs/2010.07468>`_, NeurIPS 2020, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
