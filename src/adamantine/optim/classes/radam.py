"""RAdam."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.radam import FAMILY


class RAdam(RuleOptimizer):
    r"""Adam that divides by the second moment only once its estimate is good enough.

    With :math:`g_t, m_t, v_t` as in :class:`adamantine.Adam` and :math:`\rho_t` the number of
    gradients that :math:`v_t` has averaged:

    .. math::
        \rho_\infty &= \frac{2}{1-\beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \frac{2t\,\beta_2^t}{1-\beta_2^t} \\
        r_t &= \sqrt{\frac{(\rho_t-4)(\rho_t-2)\,\rho_\infty}
            {(\rho_\infty-4)(\rho_\infty-2)\,\rho_t}} \\
        \theta_t &= \theta_{t-1} - \gamma\, \frac{m_t}{1-\beta_1^t} \cdot \begin{cases}
            r_t \sqrt{1-\beta_2^t} \,/\, (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\
            1 & \text{else (for } \beta_2 = 0.999\text{: the first five steps)}
        \end{cases}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element. It also multiplies
        the plain momentum of the first steps, which has the gradient's unit.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the moments. With
        :math:`\beta_2 \le 2/3` the method never divides, so it is plain momentum.
    eps
        :math:`\epsilon \ge 0`, added to the root without bias correction.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
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
    Training without a tuned warmup of the learning rate: the rectification acts as a warmup that
    depends on :math:`\beta_2` alone.

    Not for
    -------
    A schedule that warms up already: Adam with a linear warmup over :math:`2/(1-\beta_2)` steps
    does the same (Ma and Yarats, `On the adequacy of untuned warmup for adaptive optimization
    <https://arxiv.org/abs/1910.04209>`_, AAAI 2021).

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The paper divides from :math:`\rho_t > 4` on and has no :math:`\epsilon`. The authors' code and
    torch divide from 5 on, and so do we.

    References
    ----------
    Liu, Jiang, He, Chen, Liu, Gao and Han, `On the Variance of the Adaptive Learning Rate and
    Beyond <https://arxiv.org/abs/1908.03265>`_, ICLR 2020, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
