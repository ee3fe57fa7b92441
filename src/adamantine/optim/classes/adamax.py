"""Adamax."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adamax import FAMILY


class Adamax(RuleOptimizer):
    r"""Adam with a decaying maximum of gradients in place of the second moment.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        u_t &= \max(\beta_2 u_{t-1},\; |g_t| + \epsilon) \\
        \theta_t &= \theta_{t-1} - \frac{\gamma}{1-\beta_1^t}\, \frac{m_t}{u_t}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the average and of the maximum.
    eps
        :math:`\epsilon \ge 0`, added to the gradient's magnitude.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    params, foreach, maximize, differentiable, capturable, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Gradients that are mostly zero or occasionally huge, as those of embeddings: an outlier shortens
    the following steps, but is not squared.

    Not for
    -------
    Gradients that are merely noisy: the largest of the last thousand says less about them than
    their mean square. :class:`adamantine.Adam` is the safer choice for these.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The paper has no :math:`\epsilon`, and divides by zero if all gradients so far were zero.

    References
    ----------
    Kingma and Ba, `Adam: A Method for Stochastic Optimization <https://arxiv.org/abs/1412.6980>`_,
    ICLR 2015, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        cautious: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        settings = group_settings(locals(), only_if_on=("cautious",))
        super().__init__(params, settings, backend, options)
