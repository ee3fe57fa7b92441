"""Adagrad."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.errors import BackendError
from adamantine.optim.base import Params
from adamantine.optim.sparse import SparseMode, SparseOptimizer
from adamantine.optim.step.updates.rows import Group, Mode
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adagrad import FAMILY


class Adagrad(SparseOptimizer):
    r"""Gradients divided by the root of the sum of all past squared gradients.

    With :math:`g_t` the gradient (negated for `maximize`, plus :math:`\lambda\theta`) and
    :math:`s_0` the initial value:

    .. math::
        s_t &= s_{t-1} + g_t^2 \\
        \theta_t &= \theta_{t-1}
            - \frac{\gamma}{1 + (t-1)\,\eta}\, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`: the size of the first step in each parameter. Later
        steps shrink as :math:`1/\sqrt{t}` by themselves. A float or a tensor of one element.
    lr_decay
        :math:`\eta \ge 0`, an additional decay of the learning rate.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty added to the gradient.
    initial_accumulator_value
        :math:`s_0 \ge 0`, in units of the squared gradient. A value above 0 shortens the first
        steps. Groups may have different values.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    sparse
        How to treat sparse gradients (of ``nn.Embedding(sparse=True)``). ``"lazy"``: only the rows
        in the gradient get a step. ``"exact"``: the other rows make up for the steps they missed
        when they are next touched, so that after ``flush()`` the result is the same as with dense
        gradients; see ``attach()``. None: as in torch, the same as ``"lazy"``, but an error
        together with `weight_decay`.
    params, foreach, fused, maximize, differentiable, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.

    Good for
    --------
    Rare but informative features (words, items, users): a parameter keeps its learning rate until
    it gets gradients of its own. Convex problems, for which a regret bound is proven.

    Not for
    -------
    Long training of deep networks: the sum only grows, so the steps shrink for good.
    :class:`adamantine.RMSprop` and :class:`adamantine.Adam` forget old gradients instead.

    State
    -----
    4 bytes a parameter, allocated when the optimizer is built, not in the first step.

    Notes
    -----
    The paper's :math:`\delta` is our :math:`\epsilon`; it has no `lr_decay`. Each group uses its
    own `initial_accumulator_value`; torch uses the constructor's for all groups.

    References
    ----------
    Duchi, Hazan and Singer, `Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization <https://jmlr.org/papers/v12/duchi11a.html>`_, JMLR 12, 2011, Figure 1.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        sparse: SparseMode | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options, sparse)
        for group in self.param_groups:
            for param in group["params"]:
                self._prepare(param, group)

    @classmethod
    def _as_torch(cls, group: Group) -> Mode:
        if group["weight_decay"] != 0:
            raise BackendError(
                "weight_decay option is not compatible with sparse gradients, says torch; here, "
                "sparse='lazy' decays the rows that are touched, and sparse='exact' all of them"
            )
        return "lazy"
