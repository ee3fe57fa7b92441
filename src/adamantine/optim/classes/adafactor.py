"""Adafactor."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings
from adamantine.rules.adafactor import FAMILY

_SWITCHES = "scale_parameter", "relative_step", "warmup_init", "beta1"


class Adafactor(RuleOptimizer):
    r"""RMSprop whose second moments take a number for each row and column of a matrix.

    With :math:`g_t` the gradient (negated for `maximize`), and for a matrix (the last two
    dimensions; those before them are a batch):

    .. math::
        R_t &= (1 - t^\tau)\, R_{t-1} + t^\tau \operatorname{mean}_{\text{row}} g_t^2, \qquad
            C_t = (1 - t^\tau)\, C_{t-1} + t^\tau \operatorname{mean}_{\text{column}} g_t^2 \\
        V_t &= R_t C_t / \max(\operatorname{mean} R_t, \epsilon_1), \qquad
            u_t = g_t / \max(\sqrt{V_t}, \epsilon_1) \\
        \alpha_t &= \max(\epsilon_2, \operatorname{RMS}(\theta_{t-1}))\,
            \min(\gamma, 1/\sqrt t) \\
        \theta_t &= (1-\gamma\lambda)\, \theta_{t-1}
            - \alpha_t\, u_t / \max(1, \operatorname{RMS}(u_t)/d)

    A parameter of fewer than two dimensions keeps :math:`V_t` itself.

    Parameters
    ----------
    lr
        :math:`\gamma \ge 0`, a float or a tensor of one element: the longest step, as a share of
        the root mean square of what it changes.
    beta2_decay
        :math:`\tau \le 0`; the averages begin as means of all gradients at -1, and forget faster
        above that.
    eps
        :math:`\epsilon_1 \ge 0`, below which gradients are not scaled up, and
        :math:`\epsilon_2 \ge 0`, which parameters near zero are taken for. None for
        :math:`\epsilon_1` is the distance from 1 to the next number of the parameter's dtype.
    d
        Updates longer than this root mean square are scaled down to it; at least 1.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    scale_parameter
        False: :math:`\alpha_t` does not depend on the parameter.
    relative_step
        False: :math:`\alpha_t` does not depend on :math:`t`, which is for a schedule of one's own.
    warmup_init
        True: :math:`\gamma` is at most :math:`10^{-6}\, t`.
    beta1
        Decay rate in [0, 1) of an average of the updates, which then takes their place; it costs as
        much memory as all of Adam's first moments. None for no average.
    params, foreach, maximize, backend, options
        As for :class:`adamantine.Adam`. `state_dtype` is for what is of its parameter's shape.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    BackendError
        For a gradient that is sparse, a parameter that is complex, and matrices that are DTensors.

    Good for
    --------
    Matrices whose second moments do not fit into memory, and trainings without a learning rate to
    find: the authors train a Transformer to the quality that it has with Adam, with states that
    take next to no memory. T5 was pretrained with it.

    Not for
    -------
    Models whose states fit: Zhao et al. 2024 find that Adam and Adafactor train language models to
    much the same loss, over a wide range of settings, so that memory decides. Weights in bfloat16
    with the default `eps`: :math:`\epsilon_1` then is 2⁻⁷, and gradients below that move little;
    give ``eps=(1e-15, 1e-3)``.

    State
    -----
    0 bytes a parameter of a matrix, and 4 for each of its rows and columns; vectors take 4 bytes a
    parameter, and `beta1` takes 4 more.

    Notes
    -----
    The defaults are torch's. Those of Hugging Face's class are ``eps=(1e-15, 1e-3)`` here, because
    it adds its 1e-30 to squares; its ``clip_threshold`` is `d`, its ``decay_rate`` `beta2_decay`,
    and with a ``lr`` of its own it wants ``relative_step=False``. It multiplies the weight decay by
    :math:`\alpha_t` instead of :math:`\gamma`. `foreach` changes nothing.

    References
    ----------
    Shazeer and Stern, `Adafactor: Adaptive Learning Rates with Sublinear Memory Cost
    <https://arxiv.org/abs/1804.04235>`_, ICML 2018, Algorithms 4 and 5. Zhao et al.,
    `Deconstructing What Makes a Good Optimizer for Language Models
    <https://arxiv.org/abs/2407.07972>`_, 2024.
    """

    family = FAMILY

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
        beta1: float | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, group_settings(locals(), only_if_on=_SWITCHES), backend, options)
