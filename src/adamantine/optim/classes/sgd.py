"""Stochastic gradient descent."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.errors import BackendError, UsageError
from adamantine.optim.base import Params
from adamantine.optim.sparse import SparseMode, SparseOptimizer
from adamantine.optim.step.updates.rows import Group, Mode
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.sgd import FAMILY


class SGD(SparseOptimizer):
    r"""Stochastic gradient descent, with momentum and Nesterov's momentum as options.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`):

    .. math::
        b_1 &= g_1, \qquad b_t = \mu\, b_{t-1} + (1-\tau)\, g_t \\
        \theta_t &= \theta_{t-1} - \gamma\, b_t
            \quad\text{(Nesterov: } - \gamma\,(g_t + \mu\, b_t)\text{)}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    momentum
        :math:`\mu \ge 0`; 0 keeps no state.
    dampening
        :math:`\tau`, which reduces the gradient's weight in the buffer after the first step.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty; for SGD without momentum, the same as weight decay.
    nesterov
        Look ahead along the buffer; needs momentum and no dampening.
    sparse
        How to treat sparse gradients (of ``nn.Embedding(sparse=True)``). ``"lazy"``: only the rows
        in the gradient get a step. ``"exact"``: the other rows make up for the steps they missed
        when they are next touched, so that after ``flush()`` the result is the same as with dense
        gradients; see ``attach()``. None: as in torch, like a dense gradient with `momentum` and
        like ``"lazy"`` without, but an error together with `weight_decay`.
    params, maximize, foreach, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``, for `nesterov` without momentum or with dampening.

    Good for
    --------
    Convolutional networks with momentum 0.9 and a tuned schedule, where it often generalises best.
    Tight memory.

    Not for
    -------
    Gradients that differ widely in size between parameters (transformers, embeddings), or an
    untuned learning rate: one number has to suit all parameters.

    State
    -----
    0 bytes a parameter, 4 with momentum.

    Notes
    -----
    The paper puts the learning rate inside the buffer; torch puts it in front, and so do we. The
    two differ once the rate changes.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, `On the importance of initialization and momentum in deep
    learning <https://proceedings.mlr.press/v28/sutskever13.html>`_, ICML 2013, section 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        sparse: SparseMode | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise UsageError(
                "Nesterov momentum requires a momentum and zero dampening "
                f"(got momentum={momentum}, dampening={dampening})"
            )
        super().__init__(params, group_settings(locals()), backend, options, sparse)

    @classmethod
    def _as_torch(cls, group: Group) -> Mode:
        if group["weight_decay"] != 0:
            raise BackendError(
                "add(sparse, dense) is not supported. Use add(dense, sparse) instead. So torch, of "
                "weight_decay with a sparse gradient; here, sparse='lazy' decays the rows that are "
                "touched, and sparse='exact' all of them"
            )
        return "dense" if group["momentum"] != 0 else "lazy"
