"""Adamax."""

from __future__ import annotations

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.rules.adamax import FAMILY


class Adamax(RuleOptimizer):
    r"""Adam with a decaying maximum of gradients in place of the second moment.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        u_t &= \max(\beta_2 u_{t-1},\; |g_t| + \epsilon) \\
        \theta_t &= \theta_{t-1} - \frac{\gamma}{1-\beta_1^t}\, \frac{m_t}{u_t}

    Good for sparse or occasionally huge gradients: one outlier shortens the steps that follow
    without squaring. Where they are merely noisy, :class:`adamantine.Adam` is the safer choice.

    Parameters
    ----------
    params
        Parameters, ``(name, parameter)`` pairs or group dictionaries, as for torch.
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the average and of the maximum.
    eps
        :math:`\epsilon \ge 0`, added to the gradient's magnitude; the paper has none.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    foreach
        Accepted and without effect: there is one implementation, and it is fused.
    maximize
        Climb instead of descend.
    differentiable
        Let autograd record the step, through the reference backend.
    capturable
        As torch on the CPU, refused with an AssertionError in the first step.
    backend
        See :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Notes
    -----
    State per parameter: two float32 numbers (8 bytes).

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 2.
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
        backend: BackendName = "auto",
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults, backend)
