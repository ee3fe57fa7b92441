"""SparseAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.errors import BackendError, HyperparameterError, UsageError
from adamantine.optim.base import Params
from adamantine.optim.sparse import SparseMode, SparseOptimizer
from adamantine.optim.step.outside import outside_the_graph
from adamantine.optim.step.updates.rows import Group, Mode
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.sparse_adam import FAMILY


class SparseAdam(SparseOptimizer):
    r"""Adam for sparse gradients alone: rows without a gradient stay as they are.

    For the rows that :math:`g_t` has (negated for `maximize`):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2 \\
        \theta_t &= \theta_{t-1} - \gamma\, \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}\,
            \frac{m_t}{\sqrt{v_t} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma > 0`, a float or a tensor of one element.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the moments.
    eps
        :math:`\epsilon > 0`, added to the root without bias correction.
    maximize
        Maximize the objective instead of minimizing it.
    sparse
        ``"exact"``: rows make up for the steps that they missed when they are next touched, see
        :class:`adamantine.Adam`. None or ``"lazy"``: they do not.
    params, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``, for parameters that are sparse or complex.
    BackendError
        A ``RuntimeError``, from ``step()``, for a gradient that is dense.

    Good for
    --------
    Large ``nn.Embedding(sparse=True)`` of which a batch reads few rows: a step costs as much as
    these.

    Not for
    -------
    Models with other layers: ``adamantine.Adam(sparse="lazy")`` does the same for tables and takes
    dense gradients as well. Rows that are read rarely: their moments are as old as their last
    gradient; ``sparse="exact"`` lets them fade.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    As in torch, the step count is that of the table, not of a row, and an integer in a state dict.

    References
    ----------
    Kingma and Ba, `Adam: A Method for Stochastic Optimization <https://arxiv.org/abs/1412.6980>`_,
    ICLR 2015, Algorithm 1.
    """

    family = FAMILY
    takes_dense = False

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        *,
        sparse: SparseMode | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        settings = group_settings(locals())
        for name, value in (("learning rate", lr), ("epsilon value", eps)):
            if not isinstance(value, Tensor) and value == 0:
                raise HyperparameterError(f"Invalid {name}: {value} (expected > 0)")
        super().__init__(params, settings, backend, options, sparse)
        self._check_params("Sparse", "requires dense parameter tensors", lambda p: p.is_sparse)
        self._check_params("Complex", "does not support complex parameters", Tensor.is_complex)

    def _check_params(self, kind: str, words: str, has: Any) -> None:
        places = [
            [number, place]
            for number, group in enumerate(self.param_groups)
            for place, param in enumerate(group["params"])
            if has(param)
        ]
        if places:
            raise UsageError(f"{kind} params at indices {places}: SparseAdam {words}")

    def _check_gradients(self, params: Iterable[Tensor]) -> None:
        if any(p.grad is not None and not p.grad.is_sparse for p in params):
            raise BackendError(
                "SparseAdam does not support dense gradients, please consider Adam instead: with "
                "sparse='lazy' it does the same where gradients are sparse"
            )

    @outside_the_graph
    def state_dict(self, *, compact: bool = False) -> dict[str, Any]:
        """Return the state in torch's format, whose steps are integers; see `RuleOptimizer`."""
        found = super().state_dict(compact=compact)
        found["state"] = {
            key: {**entry, "step": int(entry["step"])} if "step" in entry else entry
            for key, entry in found["state"].items()
        }
        return found

    @classmethod
    def _as_torch(cls, _group: Group) -> Mode:
        return "lazy"
