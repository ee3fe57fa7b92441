"""SOAP."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params
from adamantine.optim.matrices import MatrixOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.soap import FAMILY


class SOAP(MatrixOptimizer):
    r"""Adam in the eigenbasis of the gradients' rows and columns; for vectors, Adam.

    For a matrix, with :math:`g_t` its gradient (negated for `maximize`):

    .. math::
        g'_t &= Q_L^T g_t\, Q_R \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g'_t, \qquad
            v_t = \beta_2 v_{t-1} + (1-\beta_2)\, g_t'^2 \\
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1} - \gamma\, Q_L\,
            \frac{m_t/(1-\beta_1^t)}{(\sqrt{v_t} + \epsilon)/\sqrt{1-\beta_2^t}}\, Q_R^T \\
        L_t &= \beta_3 L_{t-1} + (1-\beta_3)\, g_t g_t^T, \qquad
            R_t = \beta_3 R_{t-1} + (1-\beta_3)\, g_t^T g_t

    :math:`Q_L, Q_R` are eigenvectors of :math:`L` and :math:`R`: those of the first step, and then,
    every `precondition_frequency` steps, better ones by power iteration with a QR decomposition.

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    shampoo_beta
        Decay rate :math:`\beta_3 \in [0, 1)` of :math:`L` and :math:`R`; None for
        :math:`\beta_2`.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    precondition_frequency
        Steps from one look for eigenvectors to the next, at least 1.
    max_precond_dim
        The longest side that has a basis; gradients are not turned on a longer one.
    params, foreach, maximize, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``, for `offload`, and for a `state_dtype` below float32: states are turned
        from one basis to the next.
    BackendError
        For sparse gradients, and for parameters that are complex or sharded.

    Good for
    --------
    Language models with large batches: the paper reaches AdamW's loss, for 360 and 660 million
    parameters and batches of two million tokens, in 40 % fewer steps and 35 % less time.

    Not for
    -------
    Models whose states hardly fit into memory: a square matrix has four more of its size. Small
    batches, where the paper finds a smaller gain.

    State
    -----
    24 bytes a parameter of a square matrix: 8, and 8 for each side, in proportion to its length.

    Notes
    -----
    The first step changes no parameter, as in the authors' code: it finds the first basis.
    Convolutions are matrices of as many rows as they have output channels, and tensors of three
    dimensions batches of matrices; the authors' code takes each dimension for a side. Eigenvectors
    are computed in float32, or in float64 for float64 parameters.

    References
    ----------
    Vyas et al., `SOAP: Improving and Stabilizing Shampoo using Adam
    <https://arxiv.org/abs/2409.11321>`_, ICLR 2025, Algorithm 3.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10_000,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
