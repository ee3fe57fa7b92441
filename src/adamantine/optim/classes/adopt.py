"""ADOPT."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adopt import FAMILY


class ADOPT(RuleOptimizer):
    r"""Adam that converges with any second decay rate: normalise first, then average.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta` for a
    `weight_decay` that is not decoupled), counted from 0:

    .. math::
        v_0 &= g_0^2, \qquad m_0 = 0, \qquad \theta_0 \text{ as it is} \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, \operatorname{clip}\!\left(
            \frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)},\; \pm t^{c}\right) \\
        \theta_t &= \theta_{t-1} - \gamma\, m_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    eps
        :math:`\epsilon \ge 0`, the smallest divisor of a gradient, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`.
    decoupled_weight_decay
        True: shrink the parameter by a share :math:`\gamma\lambda`, as :class:`adamantine.AdamW`
        does (not in the first step). False: add an L2 penalty to the gradient.
    clip_exp
        :math:`c \ge 0`: in step t, normalised gradients are clipped to :math:`t^c`. None clips
        nothing, which is the paper's Algorithm 1.
    params, foreach, maximize, capturable, differentiable, fused, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Noisy gradients with rare large ones, where Adam converges only with :math:`\beta_2` near 1 and
    gives no sign of that. Elsewhere it behaves much like Adam at the same learning rate.

    Not for
    -------
    Very short runs: the first step only measures and moves nothing. There is no bias correction, so
    momentum takes :math:`1/(1-\beta_1)` steps to build up.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The authors have recommended clipping since their second version. Their `decouple` is our
    `decoupled_weight_decay`. Their ``clip_lambda=lambda step: step**0.25`` is our
    ``clip_exp=0.25``, because a number can be saved in a checkpoint.

    References
    ----------
    Taniguchi et al., `ADOPT: Modified Adam Can Converge with Any β2 with the Optimal Rate
    <https://arxiv.org/abs/2411.02853>`_, NeurIPS 2024, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        clip_exp: float | None = 0.25,
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
