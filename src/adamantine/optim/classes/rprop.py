"""Rprop."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.rprop import FAMILY


class Rprop(RuleOptimizer):
    r"""Step sizes of each element's own, which grow until its gradient changes sign.

    With :math:`g_t` the gradient (negated for `maximize`):

    .. math::
        \eta_t &= \begin{cases}
            \min(\eta^+\, \eta_{t-1},\, \eta_{max}) & g_{t-1}\, g_t > 0 \\
            \max(\eta^-\, \eta_{t-1},\, \eta_{min}) & g_{t-1}\, g_t < 0
                \text{, and then } g_t \leftarrow 0 \\
            \eta_{t-1} & \text{else}
            \end{cases} \\
        \theta_t &= \theta_{t-1} - \eta_t\, \operatorname{sign}(g_t)

    Parameters
    ----------
    lr
        The first step size :math:`\eta_0 \ge 0` of every element, a float or a tensor of one
        element. It plays no part after the first step, so schedules have no effect.
    etas
        The factors :math:`0 < \eta^- < 1 < \eta^+`.
    step_sizes
        The smallest and the largest step size, :math:`\eta_{min}` and :math:`\eta_{max}`.
    params, capturable, foreach, maximize, differentiable, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Training on all data at once: small networks, fits and inverse problems whose gradients are
    exact. It needs hardly any tuning, since the size of a gradient means nothing to it.

    Not for
    -------
    Mini-batches: noise changes the sign of gradients, and steps shrink or grow by accident. Use
    :class:`adamantine.RMSprop`, which began as a Rprop for mini-batches, or
    :class:`adamantine.Adam`.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The paper takes the last step back where the sign has changed; torch only stands still there,
    and so do we. As in torch, an element whose gradient is NaN does not move, so ``skip_nonfinite``
    or the loss have to tell. Signs are compared, not the sign of :math:`g_{t-1}\, g_t`, which
    vanishes in float32 where both are below :math:`10^{-23}`.

    References
    ----------
    Riedmiller and Braun, `A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP
    Algorithm <https://doi.org/10.1109/ICNN.1993.298623>`_, 1993, section 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
