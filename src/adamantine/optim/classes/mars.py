"""MARS, with AdamW's steps and with Lion's."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.mars import ADAMW_FAMILY, LION_FAMILY


class MARSAdamW(RuleOptimizer):
    r"""AdamW on gradients that are corrected by how they have changed, to vary less.

    With :math:`g_t` the gradient (negated for `maximize`), and the norm over one tensor:

    .. math::
        c_t &= g_t + \gamma_c \frac{\beta_1}{1-\beta_1}\, (g_t - g_{t-1}), \qquad
            \tilde c_t = c_t / \max(1, \lVert c_t\rVert) \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, \tilde c_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, \tilde c_t^2 \\
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1}
            - \gamma\, \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    gamma
        :math:`\gamma_c \ge 0`, how much of the correction is added. With 0, this is AdamW whose
        gradients are clipped to a norm of 1 tensor by tensor.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    BackendError
        For a sparse gradient: the norm is of a whole tensor.

    Good for
    --------
    Pretraining of language models: in the authors' runs of 50 billion tokens, the validation loss
    of GPT-2 small is 2.849 where AdamW's is 2.885, and that of GPT-2 large 2.518 instead of 2.561.

    Not for
    -------
    Little memory: it keeps the gradient of the last step. And everything where it has not been
    compared; the evidence is the authors' own, and on language models for the most part.

    State
    -----
    12 bytes a parameter.

    Notes
    -----
    This is what the authors call the approximation, and what they use: :math:`g_{t-1}` was taken on
    the last step's data. The exact form computes it on this step's, which costs a second backward
    pass and gains little (2.847 instead of 2.849). The authors leave all tensors that are no
    matrices to AdamW. As in the paper, the first step has no correction; the authors' code takes 0
    for the gradient before it. A step reads the gradients twice, once for the norm.

    References
    ----------
    Yuan, Liu, Wu, Zhou and Gu, `MARS: Unleashing the Power of Variance Reduction for Training Large
    Models <https://arxiv.org/abs/2411.10438>`_, ICML 2025, Algorithm 2; results from the authors'
    repository (AGI-Arena/MARS).
    """

    family = ADAMW_FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.95, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        gamma: float = 0.025,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)


class MARSLion(RuleOptimizer):
    r"""Steps of one size by the sign of momentum, on MARS's corrected gradients.

    With :math:`g_t` the gradient (negated for `maximize`), and the norm over one tensor:

    .. math::
        c_t &= g_t + \gamma_c \frac{\beta}{1-\beta}\, (g_t - g_{t-1}), \qquad
            \tilde c_t = c_t / \max(1, \lVert c_t\rVert) \\
        m_t &= \beta m_{t-1} + (1-\beta)\, \tilde c_t \\
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1} - \gamma \operatorname{sign}(m_t)

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element: how far every
        element goes in every step.
    beta
        Decay rate :math:`\beta \in [0, 1)` of the momentum.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    gamma
        :math:`\gamma_c \ge 0`, how much of the correction is added.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    BackendError
        For a sparse gradient: the norm is of a whole tensor.

    Good for
    --------
    Comparing with :class:`adamantine.Lion` where that does well: the same step, from momentum that
    looks ahead.

    Not for
    -------
    A first try: the authors have tuned :class:`adamantine.MARSAdamW`, and advise to tune the
    learning rate anew for this one.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    See :class:`adamantine.MARSAdamW`. The learning rate is a tenth of the authors' default, which
    is the one of their AdamW: steps of Adam's are that long only where gradients agree.

    References
    ----------
    Yuan, Liu, Wu, Zhou and Gu, `MARS: Unleashing the Power of Variance Reduction for Training Large
    Models <https://arxiv.org/abs/2411.10438>`_, ICML 2025, Algorithm 3.
    """

    family = LION_FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 3e-4,
        beta: float = 0.95,
        weight_decay: float = 0.0,
        gamma: float = 0.025,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
