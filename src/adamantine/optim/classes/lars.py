"""LARS."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.lars import FAMILY


class LARS(RuleOptimizer):
    r"""SGD with momentum for large batches: each tensor moves by a share of its own norm.

    With :math:`g_t` the gradient (negated for `maximize`), and norms over one tensor:

    .. math::
        \gamma_t &= \gamma\, \frac{\eta\, \lVert\theta_{t-1}\rVert}
            {\lVert g_t\rVert + \lambda\, \lVert\theta_{t-1}\rVert} \\
        v_t &= \mu\, v_{t-1} + \gamma_t\, (g_t + \lambda\, \theta_{t-1}) \\
        \theta_t &= \theta_{t-1} - v_t

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element, on which the size of
        gradients has no influence.
    momentum
        :math:`\mu \ge 0`.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty.
    trust_coefficient
        :math:`\eta \ge 0`, how much of its norm a tensor moves in a step at a learning rate of 1.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    BackendError
        For a sparse gradient: norms are of whole tensors.

    Good for
    --------
    Convolutional networks with batches of several thousand: the paper trains ResNet-50 on ImageNet
    with batches of 32,768 without loss in accuracy.

    Not for
    -------
    Transformers, for which the same authors have made :class:`adamantine.LAMB`, and ordinary
    batches. Nado et al. 2021 find that Nesterov's momentum, tuned as carefully, does as well on
    ResNet-50 with batches of 32,768. Biases and norms are usually left to plain SGD.

    State
    -----
    4 bytes a parameter.

    Notes
    -----
    Where the norm of the parameter or of the gradient is zero, :math:`\gamma_t` is :math:`\gamma`,
    as in the authors' code: a bias that starts at zero first moves by :math:`\gamma` times its
    gradient. The paper's schedule, :math:`(1 - t/T)^2`, is left to a scheduler. A step reads
    parameter and gradient twice, once for the norms.

    References
    ----------
    You, Gitman and Ginsburg, `Large Batch Training of Convolutional Networks
    <https://arxiv.org/abs/1708.03888>`_, 2017, Algorithm 1. Nado et al., `A Large Batch Optimizer
    Reality Check <https://arxiv.org/abs/2102.06356>`_, 2021.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        trust_coefficient: float = 1e-3,
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
