"""Adan."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adan import FAMILY


class Adan(RuleOptimizer):
    r"""Adam with Nesterov's look ahead, from the difference between two successive gradients.

    With :math:`g_t` the gradient (negated for `maximize`) and :math:`d_t = g_t - g_{t-1}`,
    :math:`d_1 = 0`:

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, d_t \\
        n_t &= \beta_3 n_{t-1} + (1-\beta_3)\, (g_t + \beta_2 d_t)^2 \\
        u_t &= \frac{m_t/(1-\beta_1^t) + \beta_2\, v_t/(1-\beta_2^t)}
            {\sqrt{n_t/(1-\beta_3^t)} + \epsilon} \\
        \theta_t &= \frac{\theta_{t-1} - \gamma\, u_t}{1 + \gamma\lambda}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Three decay rates :math:`\beta_1, \beta_2, \beta_3 \in [0, 1)`, of the average gradient, the
        average difference and the average square. The paper's :math:`\beta` are one minus these.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    no_prox
        Decay as in :class:`adamantine.AdamW`, to :math:`(1-\gamma\lambda)\,\theta_{t-1} -
        \gamma u_t`, instead of dividing by :math:`1+\gamma\lambda`.
    params, foreach, maximize, capturable, differentiable, fused, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``, if `betas` does not have three values.

    Good for
    --------
    Large batches and large learning rates: the authors recommend five to ten times AdamW's, and
    show vision transformers and language models.

    Not for
    -------
    Tight memory: its four states take twice as much as Adam's. Small batches, where the difference
    of two gradients is noise.

    State
    -----
    16 bytes a parameter.

    Notes
    -----
    As in the authors' code, :math:`\epsilon` is outside of the root, averages are corrected for
    starting at zero, and there is no restart. Their code counts steps by group, ours by parameter.
    For their `max_grad_norm`, call ``torch.nn.utils.clip_grad_norm_`` before the step.

    References
    ----------
    Xie et al., `Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models
    <https://arxiv.org/abs/2208.06677>`_, 2022, Algorithm 1.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        no_prox: bool = False,
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
