"""LAMB."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.lamb import FAMILY


class LAMB(RuleOptimizer):
    r"""Adam for large batches: each tensor moves by a share of its own norm.

    With :math:`g_t` the gradient (negated for `maximize`), and norms over one tensor:

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2 \\
        r_t &= \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}
            + \lambda\, \theta_{t-1} \\
        \theta_t &= \theta_{t-1}
            - \gamma\, \frac{\lVert\theta_{t-1}\rVert}{\lVert r_t\rVert}\, r_t

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element: the length of a step
        as a share of the tensor's norm.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled from the averages; it turns the direction of a step, and
        changes nothing in its length.
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
    Very large batches, with few steps at a high learning rate: the paper trains BERT in 15,625
    steps with batches of 32,768 to what takes a million steps with batches of 512, with a warm-up
    and a learning rate that follows from the size of batches.

    Not for
    -------
    Batches of ordinary size, where AdamW is as good and cheaper; Nado et al. 2021 find that Adam,
    when it is tuned as carefully, trains BERT as well with batches of 32,768, too. Biases and norms
    have small norms, so they move slowly: give them to a group with a larger `lr`.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    Where the norm of the parameter or of :math:`r_t` is zero, their ratio is taken for 1, as in the
    authors' code; otherwise a tensor of zeros would never move. The paper's bounds on the norm of
    the parameter (:math:`\phi`) are not there, as in that code, which leaves out the bias
    corrections, too. Other packages clip the global norm of gradients to 1 by default: here that is
    ``max_grad_norm=1.0``. A step reads everything twice, once for the norms.

    References
    ----------
    You et al., `Large Batch Optimization for Deep Learning: Training BERT in 76 minutes
    <https://arxiv.org/abs/1904.00962>`_, ICLR 2020, Algorithm 2. Nado et al., `A Large Batch
    Optimizer Reality Check <https://arxiv.org/abs/2102.06356>`_, 2021.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
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
