"""Prodigy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.backends.shards import is_dtensor
from adamantine.errors import StateError
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.step.outside import outside_the_graph
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings, listed
from adamantine.rules.prodigy import FAMILY

_OF_PRODIGYOPT = {"fsdp_in_use": False, "slice_p": 1}
"""Settings of the authors' package, at the only values that there are here."""
_NOTED_BY_PRODIGYOPT = ("d_hat", "d_denom")
_FLAT = ("s", "p0")


class Prodigy(RuleOptimizer):
    r"""Adam that finds its own learning rate: the distance that it has to go, as far as it knows.

    With :math:`g_t` the gradient (negated for `maximize`), and the product and the norm over all
    parameters of the optimizer:

    .. math::
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, d_t\, g_t \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, d_t^2 g_t^2 \\
        r_t &= \beta_3 r_{t-1} + \gamma\, d_t^2\, \langle g_t, \theta_0 - \theta_{t-1} \rangle \\
        s_t &= \beta_3 s_{t-1} + \gamma\, d_t^2\, g_t \\
        d_{t+1} &= \max\left(d_t,\ c\, \frac{r_t}{\lVert s_t\rVert_1}\right) \\
        \theta_t &= \theta_{t-1} - \gamma\, d_t
            \left(\frac{m_t}{\sqrt{v_t} + d_{t+1}\,\epsilon} + \lambda\, \theta_{t-1}\right)

    Parameters
    ----------
    lr
        :math:`\gamma \ge 0`, by which the estimate :math:`d` is multiplied, a float or a tensor of
        one element. Leave it at 1, and let a schedule lower it. One for all groups; a group with 0
        stands still.
    betas
        Decay rates :math:`\beta_1, \beta_2 \in [0, 1)` of the two averages.
    beta3
        Decay rate :math:`\beta_3 \in [0, 1)` of what the estimate is made of; None for
        :math:`\sqrt{\beta_2}`.
    eps
        :math:`\epsilon > 0`, added to the root, in units of the gradient.
    weight_decay
        :math:`\lambda \ge 0`.
    decouple
        Decoupled weight decay, as above. False: :math:`\lambda\, \theta` is added to the gradient.
    use_bias_correction
        Multiply :math:`\gamma` by Adam's :math:`\sqrt{1-\beta_2^t} / (1-\beta_1^t)`.
    safeguard_warmup
        Leave :math:`\gamma` out of :math:`s`, so that a schedule's warm-up does not lead to too
        large an estimate.
    d0
        The first estimate :math:`d_0 > 0`; a low one costs some steps.
    d_coef
        :math:`c > 0`. The setting to tune if steps are too long or too short: try 0.5 and 2.
    growth_rate
        By how much :math:`d` may grow in a step, at least 1, once it has left :math:`d_0`.
    params, foreach, maximize, fused, backend, options
        As for :class:`adamantine.Adam`. A `state_dtype` below float32 must leave out ``"p0"``;
        there is no `offload`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``: from ``step()`` for groups with different learning rates, from the
        constructor for `offload`, and from ``step_in_backward()`` and ``share_memory()``.
    BackendError
        For a sparse gradient.

    Good for
    --------
    Training without a search for the learning rate, for instance many different fine-tunings: in
    the paper, on CIFAR-10, ImageNet, IWSLT14, Criteo, knee MRI and language models, it comes close
    to Adam with a tuned one, and gets further than D-Adaptation, which it improves on.

    Not for
    -------
    Whoever has a learning rate that works: the states take twice the memory of AdamW's, and a step
    reads everything twice. It does not replace tuning: on AlgoPerf, Kasimbeg et al. 2025 find that
    methods of its kind do poorly as published, and slightly worse than NAdamW when the other
    settings of both are chosen with the same care. The estimate never falls, so one that is too
    large stays, and a schedule that ends near 0 is still needed. Parts of a model that need
    different learning rates: there is one for all. Parameters of 16 bits that are rounded to
    nearest: steps of :math:`d_0` are below their last digit, nothing moves, and the estimate never
    grows. Give them a `master` or `param_rounding`, or a `d0` of 1e-3.

    State
    -----
    16 bytes a parameter. Beside float16, whose numbers end above :math:`d_0^2 g^2`, three of the
    four states are float32.

    Notes
    -----
    As in the authors' package `prodigyopt <https://github.com/konstmish/prodigy>`_, the :math:`d`
    beside :math:`\epsilon` is that of the next step. (Where :math:`\beta_1` is 0, theirs also
    multiplies the gradient by that one; here it is the paper's.) The estimate is in the groups:
    ``d``, its maximum ``d_max``, ``d_numerator`` (:math:`r`) and the number of steps ``k``, the
    same in all, made with the `betas`, `beta3`, `d_coef` and `growth_rate` of the first group.
    State dicts load in both directions; ``slice_p`` must be 1. A group of learning rate 0 does not
    decay either. On a GPU, the host waits in each step for two sums.

    References
    ----------
    Mishchenko and Defazio, `Prodigy: An Expeditiously Adaptive Parameter-Free Learner
    <https://arxiv.org/abs/2306.06101>`_, ICML 2024, Algorithm 4. Kasimbeg et al., `How far away are
    truly hyperparameter-free learning algorithms? <https://arxiv.org/abs/2505.24005>`_, 2025.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = adamantine.Prodigy(model.parameters())
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> optimizer.param_groups[0]["d"]  # nothing has moved yet that could say more
    1e-06
    """

    family = FAMILY
    in_all_groups = "d", "d_max", "d_numerator", "k"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decouple: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        fused: bool | None = None,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        defaults = {**group_settings(locals()), "d": d0, "d_max": d0, "d_numerator": 0.0, "k": 0}
        super().__init__(params, defaults, backend, options)

    @outside_the_graph
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a copy of a group, with the estimate that the others have."""
        if isinstance(param_group, dict) and "d0" in param_group and not self.param_groups:
            begin = param_group["d0"]
            param_group = {"d": begin, "d_max": begin, **listed(param_group)}
        super().add_param_group(param_group)

    @outside_the_graph
    def state_dict(self, *, compact: bool = False) -> dict[str, Any]:
        """Return the state in torch's format, as ``prodigyopt`` has it: ``s`` and ``p0`` flat.

        See :meth:`RuleOptimizer.state_dict`. Those of DTensors, and with `compact`, are not flat.
        """
        found = super().state_dict(compact=compact)
        found["param_groups"] = [{**group, **_OF_PRODIGYOPT} for group in found["param_groups"]]
        if not compact:
            found["state"] = {key: _flat(entry) for key, entry in found["state"].items()}
        return found

    @outside_the_graph
    def load_state_dict(self, state_dict: dict[str, Any], *, strict: bool = True) -> None:
        """Load a state that :meth:`state_dict` returned, from this package or ``prodigyopt``.

        See :meth:`RuleOptimizer.load_state_dict`.

        Raises
        ------
        StateError
            Also where ``slice_p`` is not 1: the estimate was made from a part of the parameters.
        """
        super().load_state_dict(_in_shape(state_dict), strict=strict)


def _flat(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    states = {k: v for k, v in entry.items() if k in _FLAT and not is_dtensor(v)}
    return {**entry, **{name: value.reshape(-1) for name, value in states.items()}}


def _in_shape(state_dict: dict[str, Any]) -> dict[str, Any]:
    """`state_dict` with states of their parameters' shapes, and only what is kept here."""
    if not {"state", "param_groups"} <= state_dict.keys():
        return state_dict  # what is wrong is said where it is read
    groups = []
    for group in state_dict["param_groups"]:
        if group.get("slice_p", 1) != 1:
            raise StateError(
                f"the state was saved with slice_p={group['slice_p']}, and s and p0 have only some "
                "of the elements; expected slice_p=1: restart from the model's weights"
            )
        left_out = (*_OF_PRODIGYOPT, *_NOTED_BY_PRODIGYOPT)
        kept = {k: v for k, v in group.items() if k not in left_out}
        # With fsdp_in_use, theirs keeps its estimate in tensors on the device.
        found = {name: kept[name] for name in Prodigy.in_all_groups if name in kept}
        groups.append(
            kept | {k: v.item() if isinstance(v, Tensor) else v for k, v in found.items()}
        )
    state = {key: _entry_in_shape(entry) for key, entry in state_dict["state"].items()}
    return {**state_dict, "state": state, "param_groups": groups}


def _entry_in_shape(entry: Any) -> Any:
    like = entry.get("exp_avg_sq") if isinstance(entry, dict) else None
    if not isinstance(like, Tensor):
        return entry
    found = dict(entry)
    for name in _FLAT:
        value = entry.get(name)
        if isinstance(value, Tensor) and value.shape != like.shape and not is_dtensor(value):
            if value.numel() == like.numel():
                found[name] = value.reshape(like.shape)
            elif name == "p0" and value.dim() == 0:
                # Of a parameter that began as zeros.
                found[name] = value.to(like).expand_as(like).clone()
    # With a β1 of 0, theirs has no average.
    found.setdefault("exp_avg", torch.zeros_like(like))
    return found
