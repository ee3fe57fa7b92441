"""RMSprop."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.rmsprop import FAMILY


class RMSprop(RuleOptimizer):
    r"""RMSprop: gradients divided by their running root mean square.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`):

    .. math::
        s_t &= \alpha\, s_{t-1} + (1-\alpha)\, g_t^2 \\
        a_t &= \alpha\, a_{t-1} + (1-\alpha)\, g_t \quad\text{(centered, else } 0\text{)} \\
        b_t &= \mu\, b_{t-1} + g_t / \big(\sqrt{s_t - a_t^2} + \epsilon\big) \\
        \theta_t &= \theta_{t-1} - \gamma\, b_t

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    alpha
        Decay rate of the mean square, usually in [0, 1).
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    momentum
        :math:`\mu \ge 0`; 0 keeps no buffer.
    centered
        Divide by the standard deviation instead of the root mean square.
    params, capturable, foreach, maximize, differentiable, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Recurrent networks and reinforcement learning, where gradients change in size during training.
    It needs half of Adam's state.

    Not for
    -------
    Large learning rates from the first step on: there is no bias correction, so the first steps
    are up to :math:`1/\sqrt{1-\alpha}` (10 at the default) times as long as `lr`.
    :class:`adamantine.Adam` is RMSprop with momentum and bias correction.

    State
    -----
    4 bytes a parameter, 4 more with momentum, 4 more with `centered`.

    Notes
    -----
    Graves adds :math:`\epsilon` inside the root; torch adds it outside, and so do we. Rounding can
    make :math:`s_t - a_t^2` slightly negative, which gives NaN in torch; we use its absolute value.

    References
    ----------
    Hinton, `Neural Networks for Machine Learning
    <https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf>`_, lecture 6e, 2012.
    Centered: Graves, `Generating Sequences With Recurrent Neural Networks
    <https://arxiv.org/abs/1308.0850>`_, 2013, equations 38 to 41.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
