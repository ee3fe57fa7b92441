"""Muon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from typing_extensions import Unpack

from adamantine.backends import BackendName
from adamantine.errors import HyperparameterError, UsageError
from adamantine.optim.base import Params
from adamantine.optim.matrices import MatrixOptimizer
from adamantine.optim.step.plan import Plan
from adamantine.optim.step.updates.member import Only
from adamantine.optim.usage.labels import label
from adamantine.optim.usage.matrices import Assignment, Assignments, assigned
from adamantine.optim.usage.options import Options
from adamantine.optim.usage.param_group import group_settings, listed
from adamantine.rules.muon import ADJUSTMENTS, ALGORITHMS, FAMILY, is_adamw

Group = dict[str, Any]
NsDtype = Literal["bfloat16", "float32", "float64"]

_NS_DTYPES = None, "bfloat16", "float32", "float64"


class Muon(MatrixOptimizer):
    r"""Momentum for matrices, with all singular values made about one; AdamW for all else.

    For a matrix, with :math:`g_t` its gradient (negated for `maximize`):

    .. math::
        b_t &= \mu\, b_{t-1} + (1-\mu)\, g_t \\
        d_t &= \mu\, b_t + (1-\mu)\, g_t \quad (b_t \text{ without } \textit{nesterov}) \\
        o_t &\approx U V^T \quad\text{where}\quad d_t = U S V^T \\
        \theta_t &= (1 - \gamma\lambda)\, \theta_{t-1} - \gamma\, r\, o_t

    with :math:`r = \sqrt{\max(1, \text{rows}/\text{columns})}`, or
    :math:`0.2 \sqrt{\max(\text{rows}, \text{columns})}` for ``"match_rms_adamw"``.

    Parameters
    ----------
    params
        A model, or its ``named_parameters()``: matrices and convolutions go to Muon; embeddings,
        the output layer, norms, biases and whatever else has fewer than two dimensions go to AdamW,
        in a group of this optimizer. ``assigned()`` says what went where. Without names, as in
        torch, tensors are for Muon, and have to have two dimensions or more; groups say it
        otherwise by ``algorithm="adamw"``.
    lr
        Learning rate :math:`\gamma \ge 0`, a float or a tensor of one element: about the norm of a
        step in the directions that a matrix acts in.
    weight_decay
        :math:`\lambda \ge 0`, decoupled.
    momentum
        :math:`\mu \ge 0`.
    nesterov
        Whether the direction looks ahead by the newest gradient.
    ns_coefficients, eps, ns_steps
        The coefficients of Newton and Schulz's iteration, the least norm that it divides by, and
        its number of steps, below 100.
    adjust_lr_fn
        How :math:`r` depends on a matrix's shape: ``"original"``, as None, or
        ``"match_rms_adamw"``, with which a learning rate that is good for AdamW is good here.
    ns_dtype
        What the iteration is computed in: ``"bfloat16"``, as in torch, ``"float32"`` or
        ``"float64"``. None: bfloat16, but float32 on processors that have no instructions for it.
    normuon, normuon_beta2
        NorMuon: divide each row of :math:`o_t` by the root of an average of its mean square, whose
        decay rate :math:`\beta_2 \in [0, 1)` is, and give the matrix its norm again. It keeps a
        number for each row.
    adamw_lr, adamw_betas, adamw_eps, adamw_weight_decay
        AdamW's settings. Its learning rate and weight decay are Muon's where they are None.
    maximize, backend, options
        As for :class:`adamantine.Adam`.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for a setting outside its range.
    UsageError
        A ``ValueError``, for a tensor of fewer than two dimensions in a group of Muon's; for
        `offload`, since the iteration would run in main memory.
    BackendError
        For sparse gradients, and for parameters that are complex or sharded.

    Good for
    --------
    The hidden matrices of transformers that are trained from scratch: Liu et al. 2025 reach AdamW's
    loss with 52 % of its compute, up to 16 billion parameters, with ``"match_rms_adamw"``.

    Not for
    -------
    Full fine-tuning of a model that Adam has pretrained, which tends to get worse with it
    (`arXiv 2605.10468 <https://arxiv.org/abs/2605.10468>`_); give that AdamW. Models with few or
    small matrices, where there is nothing to win.

    State
    -----
    4 bytes a parameter; 8 where AdamW has it.

    Notes
    -----
    All matrices of one shape are made orthogonal together. Tensors of three dimensions are batches
    of matrices, such as heads or experts; convolutions are matrices of as many rows as they have
    output channels. The state of matrices is torch's, and can be exchanged with it. Products of
    matrices are the library's that torch calls, and their last digits may depend on how many
    matrices are multiplied at once.

    References
    ----------
    Jordan et al., `Muon: An optimizer for hidden layers in neural networks
    <https://kellerjordan.github.io/posts/muon/>`_, 2024. Liu et al., `Muon is Scalable for LLM
    Training <https://arxiv.org/abs/2502.16982>`_, 2025. Li et al., `NorMuon: Making Muon more
    efficient and scalable <https://arxiv.org/abs/2510.05491>`_, 2025.
    """

    family = FAMILY
    takes_model = True

    def __init__(
        self,
        params: Params | nn.Module,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        *,
        ns_dtype: NsDtype | None = None,
        normuon: bool = False,
        normuon_beta2: float = 0.95,
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float | None = None,
        maximize: bool = False,
        backend: BackendName = "auto",
        **options: Unpack[Options],
    ) -> None:
        given = group_settings(locals(), only_if_on=("maximize", "ns_dtype", "normuon"))
        unused = ("adamw_",) if normuon else ("adamw_", "normuon_")
        defaults = {name: value for name, value in given.items() if not name.startswith(unused)}
        own = {name: given[f"adamw_{name}"] for name in ("lr", "betas", "eps", "weight_decay")}
        self._of_adamw = {name: value for name, value in own.items() if value is not None}
        _check_aside(self._of_adamw, normuon_beta2)
        self._normuon_beta2 = normuon_beta2
        groups, self._whys = _grouped(params)
        super().__init__(groups, defaults, backend, options)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: Muon's, or AdamW's with ``algorithm="adamw"``."""
        if isinstance(param_group, dict):
            param_group = dict(listed(param_group))
            if "use_muon" in param_group:  # in the authors' code
                chosen = "muon" if param_group.pop("use_muon") else "adamw"
                param_group.setdefault("algorithm", chosen)
            if is_adamw(param_group):
                param_group = self._of_adamw | param_group
            elif param_group.get("normuon"):
                param_group.setdefault("normuon_beta2", self._normuon_beta2)
            _check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        if not is_adamw(added) and (problem := self._not_a_matrix(added)):
            self.param_groups.pop()
            raise UsageError(problem)

    def _new_plan(self, only: Only | None = None) -> Plan:
        for group in self.param_groups:  # which may have been changed since it was added
            if group.get("normuon") and not is_adamw(group):
                group.setdefault("normuon_beta2", self._normuon_beta2)
            _check_settings(group)
        return super()._new_plan(only)

    def __getstate__(self) -> dict[str, Any]:
        own = ("_whys", "_of_adamw", "_normuon_beta2")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}

    def _not_a_matrix(self, group: Group) -> str | None:
        flat = [param for param in group["params"] if param.dim() < 2]
        if not flat:
            return None
        # The first words are torch's.
        return (
            f"Muon only supports 2D parameters whereas we found a parameter with size: "
            f"{flat[0].size()}: {label(self.param_groups, flat[0])}. Give it the model, or "
            "model.named_parameters(), so that AdamW gets what is no matrix; or put it into a "
            'group with algorithm="adamw"'
        )

    def assigned(self) -> Assignments:
        """Which algorithm has each parameter, and why; printed, it is a table.

        Examples
        --------
        >>> import torch, adamantine
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> print(adamantine.Muon(model, lr=1e-3, adjust_lr_fn="match_rms_adamw").assigned())
        0.weight  8x4  muon   matrix
        0.bias    8    adamw  bias
        1.weight  2x8  adamw  output layer
        1.bias    2    adamw  bias
        """
        found = []
        for index, group in enumerate(self.param_groups):
            names = group.get("param_names", ())
            for position, param in enumerate(group["params"]):
                name = names[position] if position < len(names) else f"{index}.{position}"
                why = self._whys.get(name, "its group's algorithm")
                algorithm = "adamw" if is_adamw(group) else "muon"
                found.append(Assignment(name, tuple(param.shape), algorithm, why))
        places = {name: place for place, name in enumerate(self._whys)}
        return Assignments(sorted(found, key=lambda a: places.get(a.name, len(places))))


def _grouped(params: Any) -> tuple[Any, dict[str, str]]:
    """Parameters as given, or a model's in groups; and why they are where they are."""
    if isinstance(params, nn.Module):
        return assigned(params)
    if isinstance(params, Tensor | Mapping) or not isinstance(params, Iterable):
        return params, {}  # torch says what is wrong
    given = list(params)
    if given and all(isinstance(each, tuple) for each in given):
        return assigned(given)
    return given, {}


def _check_aside(of_adamw: Mapping[str, Any], normuon_beta2: float) -> None:
    """Check what no group may hold yet."""
    for hyperparameter in FAMILY.hyperparameters:
        name = hyperparameter.name
        if name in of_adamw:
            replace(hyperparameter, label=f"adamw_{name}").check(of_adamw[name])
        elif name == "normuon_beta2":
            hyperparameter.check(normuon_beta2)


def _check_settings(settings: Mapping[str, Any]) -> None:
    if aside := [name for name in settings if name.startswith("adamw_")]:
        raise HyperparameterError(
            f"a group has {aside[0]!r}, which is the constructor's name for AdamW's part; a group "
            f'with algorithm="adamw" calls it {aside[0].removeprefix("adamw_")!r}'
        )
    if (adjust := settings.get("adjust_lr_fn")) not in ADJUSTMENTS:
        # The first words are torch's.
        raise HyperparameterError(
            f"Adjust learning rate function {adjust} is not supported; give 'original' or "
            "'match_rms_adamw'"
        )
    for name, choices in (("algorithm", ALGORITHMS), ("ns_dtype", _NS_DTYPES)):
        value = settings.get(name, choices[0])
        if value not in choices:
            raise HyperparameterError(
                f"Invalid {name}: {value!r} (expected one of {', '.join(map(repr, choices))})"
            )
