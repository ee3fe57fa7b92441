"""Adadelta."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adadelta import FAMILY


class Adadelta(RuleOptimizer):
    r"""Step sizes from the ratio of recent updates to recent gradients.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`):

    .. math::
        v_t &= \rho\, v_{t-1} + (1-\rho)\, g_t^2 \\
        d_t &= \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t \\
        u_t &= \rho\, u_{t-1} + (1-\rho)\, d_t^2 \\
        \theta_t &= \theta_{t-1} - \gamma\, d_t

    Parameters
    ----------
    lr
        :math:`\gamma \ge 0`, a factor on the step that the method computes; the paper's is 1. A
        float or a tensor of one element.
    rho
        Decay rate :math:`\rho \in [0, 1]` of both averages.
    eps
        :math:`\epsilon \ge 0`, inside both roots. The first steps are about
        :math:`\sqrt{\epsilon/(1-\rho)}` long.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    params, foreach, capturable, maximize, differentiable, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Layers whose parameters differ in scale by orders of magnitude, and a first run when you do not
    know a good learning rate: a step has the parameter's own unit.

    Not for
    -------
    Fast training: its first steps are tiny, and it takes time to speed up.
    :class:`adamantine.Adam` with the best of three learning rates is faster in most cases.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The paper has no learning rate and uses :math:`\rho = 0.95`; torch uses 0.9, and so do we.

    References
    ----------
    Zeiler, `ADADELTA: An Adaptive Learning Rate Method <https://arxiv.org/abs/1212.5701>`_, 2012,
    Algorithm 1.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
