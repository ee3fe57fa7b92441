"""NAdam."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.nadam import FAMILY


class NAdam(RuleOptimizer):
    r"""Adam with Nesterov's momentum, which warms up.

    With :math:`g_t, m_t, v_t` as in :class:`adamantine.Adam`:

    .. math::
        \mu_t &= \beta_1 \big(1 - \tfrac12\, 0.96^{\,t\psi}\big) \\
        \theta_t &= \theta_{t-1} - \gamma\,
            \frac{\mu_{t+1}\, m_t / (1 - \prod_{i=1}^{t+1} \mu_i)
                + (1-\mu_t)\, g_t / (1 - \prod_{i=1}^{t} \mu_i)}
            {\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the moments; the momentum warms up to
        :math:`\beta_1`.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    momentum_decay
        :math:`\psi \ge 0`, how fast the momentum warms up: with 0.004 it is half of
        :math:`\beta_1` in the first step and three quarters of it after 4,200.
    decoupled_weight_decay
        Subtract :math:`\gamma\lambda\theta` from the parameter instead, as in
        :class:`adamantine.AdamW`.
    params, foreach, maximize, capturable, differentiable, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    The same problems as Adam, when Adam's momentum overshoots: the step looks ahead, and the low
    momentum in the first few thousand steps follows the gradient more closely.

    Not for
    -------
    Reusing the schedule of a tuned Adam: the momentum keeps changing for 10,000 steps and more,
    whatever the learning rate does.

    State
    -----
    8 bytes a parameter, and 4 bytes a tensor for the product of all :math:`\mu_i`.

    Notes
    -----
    The schedule of :math:`\mu` comes from Dozat's report of 2015, where :math:`\psi = 1/250`. As in
    torch, :math:`m_t` is averaged with :math:`\beta_1` itself, and :math:`\mu` weights it relative
    to :math:`g_t`.

    References
    ----------
    Dozat, `Incorporating Nesterov Momentum into Adam
    <https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ>`_, ICLR workshop 2016.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        cautious: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        settings = group_settings(locals(), only_if_on=("cautious",))
        super().__init__(params, settings, backend, options)
