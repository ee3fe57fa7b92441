"""Lion."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.lion import FAMILY


class Lion(RuleOptimizer):
    r"""Steps of constant size from the sign of momentum: one state, and no division.

    With :math:`g_t` the gradient (negated for `maximize`):

    .. math::
        c_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        \theta_t &= \theta_{t-1}
            - \gamma\, \big(\operatorname{sign}(c_t) + \lambda\,\theta_{t-1}\big) \\
        m_t &= \beta_2 m_{t-1} + (1-\beta_2)\, g_t

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, exactly the size of a step in each parameter. A float or
        a tensor of one element.
    betas
        :math:`\beta_1 \in [0, 1)`, the weight of momentum in the direction, and :math:`\beta_2 \in
        [0, 1)`, the decay rate of momentum.
    weight_decay
        :math:`\lambda \ge 0`, decoupled: shrinks the parameter by a share :math:`\gamma\lambda`.
    cautious_weight_decay
        As for :class:`adamantine.AdamW`.
    params, foreach, maximize, capturable, differentiable, fused, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Large batches, vision models and language models, and when Adam's second state does not fit into
    memory: Lion needs half of Adam's. Every element moves by the learning rate in every step, so
    use a rate three to ten times smaller than AdamW's, and a weight decay larger by the same
    factor. Use a decaying schedule, because the steps do not shrink by themselves.

    Not for
    -------
    Small batches (the authors saw no gain below 64), where signs are mostly noise.

    State
    -----
    4 bytes a parameter.

    Notes
    -----
    The defaults are those of the authors' PyTorch code. For language models, the authors recommend
    ``betas=(0.95, 0.98)``. A NaN in the momentum makes the parameter NaN, as in the authors' JAX
    code. In their PyTorch code the sign of NaN is 0, so the parameter never moves again.

    References
    ----------
    Chen et al., `Symbolic Discovery of Optimization Algorithms <https://arxiv.org/abs/2302.06675>`_,
    NeurIPS 2023, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
