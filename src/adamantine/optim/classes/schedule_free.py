"""Schedule-free SGD, AdamW and RAdam."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params
from adamantine.optim.schedule_free import ScheduleFreeOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.schedule_free import ADAMW_FAMILY, RADAM_FAMILY, SGD_FAMILY


class AdamWScheduleFree(ScheduleFreeOptimizer):
    r"""AdamW that averages its parameters instead of lowering its learning rate.

    With :math:`g_t` the gradient (negated for `maximize`) at :math:`y_t`, which is the parameter
    :math:`\theta` while training:

    .. math::
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2 \\
        u_t &= \frac{g_t}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon} + \lambda\, y_t \\
        z_{t+1} &= z_t - \gamma_t\, u_t \\
        x_{t+1} &= (1-c_t)\, x_t + c_t\, z_{t+1}, \qquad
        c_t = \frac{w_t}{w_1 + \dots + w_t},\ w_t = t^r \max_{i \le t} \gamma_i^p \\
        \theta_t &= y_{t+1} = (1-\beta_1)\, z_{t+1} + \beta_1\, x_{t+1}

    Call ``optimizer.train()`` with ``model.train()``, and ``optimizer.eval()`` with
    ``model.eval()``: it makes the parameters :math:`x`.

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element. It stays constant;
        good ones are 1 to 10 times as large as with a schedule.
    betas
        :math:`\beta_1 \in (0, 1)`, how near gradients are taken to the average, and
        :math:`\beta_2 \in [0, 1)`, the decay rate of the second moment. For long runs, try
        :math:`\beta_1` of 0.95 or 0.98.
    eps
        :math:`\epsilon \ge 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`, decoupled, of :math:`y`.
    warmup_steps
        Steps over which :math:`\gamma_t` grows evenly from 0 to `lr`.
    r
        The power :math:`r \ge 0` by which later steps weigh more in the average.
    weight_lr_power
        The power :math:`p \ge 0` by which steps with a larger learning rate weigh more, in effect
        those after the warm-up.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`. A `state_dtype` below float32 must leave out ``"z"``.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    StateError
        A ``RuntimeError``, from ``step()`` in eval mode.

    Good for
    --------
    Training whose length is not known in advance, or that may stop at any time: there is no
    schedule, and in the paper the average is at every moment about as good as a cosine schedule
    that ends there. It won the self-tuning track of MLCommons' AlgoPerf competition in 2024.

    Not for
    -------
    Programs that never say when they evaluate: their metrics are those of :math:`y`, and
    checkpoints of the model, too. Batch norm, unless its statistics are renewed at :math:`x` before
    an evaluation. A fixed number of steps with a tuned schedule leaves little to gain.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    A new optimizer is in train mode (that of the authors' package in eval mode). ``attach(model)``
    makes the model raise where it is evaluated or saved in the wrong mode. Steps are counted by
    parameter, in the authors' package by group. State dicts load in both directions; the model's
    weights have to be those of the same mode. With parameters of 16 bits, give a `master`: each
    change of the mode rounds them.

    References
    ----------
    Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, `The Road Less Scheduled
    <https://arxiv.org/abs/2405.15682>`_, NeurIPS 2024, Algorithm 1.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = adamantine.AdamWScheduleFree(model.parameters(), lr=3e-3)
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> optimizer.eval()  # and model.eval(): validate, save
    >>> optimizer.train()
    """

    family = ADAMW_FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)


class RAdamScheduleFree(ScheduleFreeOptimizer):
    r"""Schedule-free AdamW that warms up by itself, as RAdam does.

    With :math:`v_t, c_t` as in :class:`adamantine.AdamWScheduleFree`, and :math:`\rho_t, r_t` as in
    :class:`adamantine.RAdam`:

    .. math::
        u_t &= \frac{g_t}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon} + \lambda\, y_t,\quad
            \gamma_t = r_t\, \gamma \quad\text{if } \rho_t > 4 \\
        u_t &= g_t + \lambda\, y_t,\quad
            \gamma_t = 0 \ \text{(or } \gamma\text{)} \quad\text{if not} \\
        z_{t+1} &= z_t - \gamma_t\, u_t, \qquad
        x_{t+1} = (1-c_t)\, x_t + c_t\, z_{t+1} \\
        \theta_t &= (1-\beta_1)\, z_{t+1} + \beta_1\, x_{t+1}

    Parameters
    ----------
    silent_sgd_phase
        Do not move in the first steps (four at the default :math:`\beta_2`), in which the second
        moment is not known well enough. False: steps of SGD there.
    lr, betas, eps, weight_decay, r, weight_lr_power
        As for :class:`adamantine.AdamWScheduleFree`.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`. A `state_dtype` below float32 must leave out ``"z"``.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    StateError
        A ``RuntimeError``, from ``step()`` in eval mode.

    Good for
    --------
    What :class:`adamantine.AdamWScheduleFree` is good for, with one setting less: there is no
    `warmup_steps` to choose.

    Not for
    -------
    Very large learning rates, which need a warm-up of thousands of steps: this one is over after
    some hundred. What else AdamWScheduleFree is not for.

    State
    -----
    8 bytes a parameter.

    Notes
    -----
    Modes, counting and checkpoints: as for AdamWScheduleFree. As in the authors' package, it
    divides from :math:`\rho_t > 4` on, :class:`adamantine.RAdam` from 5.

    References
    ----------
    Defazio et al., `The Road Less Scheduled <https://arxiv.org/abs/2405.15682>`_, NeurIPS 2024,
    Algorithm 1. Rectification: Liu et al., `On the Variance of the Adaptive Learning Rate and
    Beyond <https://arxiv.org/abs/1908.03265>`_, ICLR 2020, Algorithm 2.
    """

    family = RADAM_FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        foreach: bool | None = None,
        silent_sgd_phase: bool = True,
        *,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)


class SGDScheduleFree(ScheduleFreeOptimizer):
    r"""SGD that averages its parameters instead of lowering its learning rate.

    With :math:`c_t` as in :class:`adamantine.AdamWScheduleFree`, and :math:`g_t` the gradient
    (negated for `maximize`) at :math:`y_t`, which is the parameter :math:`\theta` while training:

    .. math::
        z_{t+1} &= z_t - \gamma_t\, (g_t + \lambda\, y_t) \\
        x_{t+1} &= (1-c_t)\, x_t + c_t\, z_{t+1} \\
        \theta_t &= y_{t+1} = (1-\beta)\, z_{t+1} + \beta\, x_{t+1}

    Parameters
    ----------
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element. Good ones are 10 to
        50 times as large as those of SGD with momentum.
    momentum
        :math:`\beta \in (0, 1)`, how near gradients are taken to the average.
    weight_decay
        :math:`\lambda \ge 0`, an L2 penalty, of :math:`y`.
    warmup_steps, r, weight_lr_power
        As for :class:`adamantine.AdamWScheduleFree`.
    params, foreach, maximize, capturable, differentiable, fused, backend, options
        As for :class:`adamantine.Adam`. A `state_dtype` below float32 must leave out ``"z"``.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    StateError
        A ``RuntimeError``, from ``step()`` in eval mode.

    Good for
    --------
    Convolutional networks that SGD with momentum trains well, when the number of epochs is not
    known in advance; convex problems, where the average is optimal without knowing the horizon.

    Not for
    -------
    Gradients that differ widely in size between parameters; use
    :class:`adamantine.AdamWScheduleFree`. What else that one is not for.

    State
    -----
    4 bytes a parameter.

    Notes
    -----
    Modes, counting and checkpoints: as for AdamWScheduleFree.

    References
    ----------
    Defazio et al., `The Road Less Scheduled <https://arxiv.org/abs/2405.15682>`_, NeurIPS 2024,
    Algorithm 1.
    """

    family = SGD_FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals()), backend, options)
