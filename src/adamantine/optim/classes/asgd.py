"""Averaged stochastic gradient descent."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.asgd import FAMILY


class ASGD(RuleOptimizer):
    r"""Stochastic gradient descent that also keeps the mean of all places it has been to.

    With :math:`g_t` the gradient (negated for `maximize`, plus `weight_decay` times
    :math:`\theta`):

    .. math::
        \theta_t &= (1 - \lambda\eta_t)\, \theta_{t-1} - \eta_t\, g_t \\
        a_t &= a_{t-1} + \mu_t\, (\theta_t - a_{t-1}) \\
        \eta_{t+1} &= \gamma\, (1 + \lambda\gamma t)^{-\alpha}, \qquad
        \mu_{t+1} = 1 / \max(1,\, t - t_0)

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    lambd
        :math:`\lambda \ge 0`: how fast parameters decay, and how fast steps shrink.
    alpha
        The power :math:`\alpha \ge 0` by which steps shrink.
    t0
        The step after which :math:`a` is a mean; until then it is the parameter itself.
    weight_decay
        An L2 penalty :math:`\ge 0`, added to the gradient.
    params, foreach, maximize, differentiable, capturable, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Convex problems in one or a few passes (linear models, CRFs), and language models with LSTMs
    that switch to averaging when validation stops improving.

    Not for
    -------
    Deep networks without a plan for evaluation: the mean is in ``optimizer.state[param]["ax"]``,
    and nothing copies it into the model. ``torch.optim.swa_utils.AveragedModel`` averages with any
    optimizer.

    State
    -----
    4 bytes a parameter.

    Notes
    -----
    With the default `t0` of a million steps, nothing is averaged before then. As in torch,
    :math:`\eta` and :math:`\mu` of a step are computed in the step before and kept in float32, so a
    new learning rate takes effect one step late.

    References
    ----------
    Polyak and Juditsky, `Acceleration of Stochastic Approximation by Averaging
    <https://doi.org/10.1137/0330046>`_, 1992. Step sizes: Xu, `Towards Optimal One Pass Large Scale
    Learning with Averaged Stochastic Gradient Descent <https://arxiv.org/abs/1107.2490>`_, 2011,
    section 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        *,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
