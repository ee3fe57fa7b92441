"""StableAdamW."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.stable_adamw import FAMILY


class StableAdamW(RuleOptimizer):
    r"""AdamW with shorter steps for tensors whose gradients are larger than they have been.

    With :math:`g_t` the gradient (negated for `maximize`), :math:`m_t, v_t` as in
    :class:`adamantine.Adam`, and the mean over one tensor:

    .. math::
        \hat m_t &= m_t/(1-\beta_1^t), \qquad \hat v_t = v_t/(1-\beta_2^t) \\
        \gamma_t &= \gamma\, / \max\!\left(1, \sqrt{\operatorname{mean}
            \frac{g_t^2}{\max(\hat v_t, \epsilon^2)}}\right) \\
        \theta_t &= (1 - \gamma_t\lambda)\, \theta_{t-1}
            - \gamma_t\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}

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
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    BackendError
        For a sparse gradient: the mean is over a whole tensor.

    Good for
    --------
    Transformers whose loss has spikes: the authors find these one to eight steps after gradients
    have outgrown their second moment. With this optimizer, CLIP ViT-Huge has none, and ends better
    than AdamW with clipped gradients.

    Not for
    -------
    Trainings without spikes, where it does what AdamW does and reads gradients and second moments
    twice.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    The paper corrects the averages by decay rates that grow; that is the same.

    References
    ----------
    Wortsman et al., `Stable and low-precision training for large-scale vision-language models
    <https://arxiv.org/abs/2304.13013>`_, NeurIPS 2023, Algorithm 2.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
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
