"""AdEMAMix."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.ademamix import FAMILY


class AdEMAMix(RuleOptimizer):
    r"""Adam with a second momentum that remembers ten thousand steps.

    With :math:`g_t` the gradient (negated for `maximize`):

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t \\
        n_t &= \beta_3(t)\, n_{t-1} + (1-\beta_3(t))\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2 \\
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1} - \gamma\,
            \frac{m_t/(1-\beta_1^t) + \alpha(t)\, n_t}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element.
    betas
        Three decay rates :math:`\beta_1, \beta_2, \beta_3 \in [0, 1)`, of the fast average, the
        average square and the slow average.
    alpha
        :math:`\alpha \ge 0`, the weight of the slow average; the paper uses 5 to 10.
    beta3_warmup
        Steps over which :math:`\beta_3(t)` grows from :math:`\beta_1` to :math:`\beta_3`, its
        half-life evenly. None for :math:`\beta_3` from the first step on.
    alpha_warmup
        Steps over which :math:`\alpha(t)` grows evenly from 0. None for :math:`\alpha` at once.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    params, foreach, maximize, capturable, differentiable, fused, cautious, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range, or if `betas` does not have three values.

    Good for
    --------
    Long pretraining: in the paper, a language model of 1.3 billion parameters needs 101 billion
    tokens for what takes AdamW 197, with the same learning rate and decay; vision transformers gain
    where there is much data. Set both warm-ups to the whole number of steps.

    Not for
    -------
    Short runs, which end before the slow average has seen enough, and data that change on the way:
    it keeps going where old gradients pointed. Without warm-ups it is often unstable in the first
    few thousand steps.

    State
    -----
    12 bytes a parameter.

    Notes
    -----
    The slow average is not corrected for starting at zero. With a warm-up, a run that is made
    longer later on has another schedule: the warm-ups are counted in steps of each parameter. The
    authors' code leaves out the fast average where :math:`\beta_1` is 0, and this class keeps it.

    References
    ----------
    Pagliardini, Ablin and Grangier, `The AdEMAMix Optimizer: Better, Faster, Older
    <https://arxiv.org/abs/2409.03137>`_, ICLR 2025, Algorithm 1.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 2.0,
        beta3_warmup: int | None = None,
        alpha_warmup: int | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
