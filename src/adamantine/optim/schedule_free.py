"""Optimizers whose parameters are one thing while training and another for evaluation."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adamantine.backends import BackendName, reference
from adamantine.backends.shards import is_dtensor, local_of
from adamantine.codecs import noise
from adamantine.errors import StateError, UsageError
from adamantine.optim.base import Params, RuleOptimizer
from adamantine.optim.state.precision import treatment
from adamantine.optim.step.outside import outside_the_graph
from adamantine.rules.schedule_free import COUNTERS, SWAP, momentum_of

Group = dict[str, Any]

TRAIN_MODE = "train_mode"
_OF_SCHEDULEFREE = ("k", "weight_sum", "lr_max", "scheduled_lr")
"""What the authors' package counts in a group."""


class ScheduleFreeOptimizer(RuleOptimizer):
    """A rule's optimizer that keeps two places: where gradients are taken, and the average.

    While training, parameters are the first, y; for evaluation, :meth:`eval` makes them the second,
    x. A group's ``train_mode`` says which they are. State dicts have what the package
    ``schedulefree`` of the authors needs, and may come from it.
    """

    in_all_groups = (TRAIN_MODE,)

    def __init__(
        self,
        params: Params,
        defaults: Group,
        backend: BackendName,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(params, {**defaults, TRAIN_MODE: True}, backend, options)

    def _check_ready(self) -> None:
        for group in self.param_groups:
            if not group[TRAIN_MODE]:
                raise StateError(
                    f"{type(self).__name__} is in eval mode: its parameters are the averages for "
                    "evaluation, and a step belongs to those for training. Call optimizer.train() "
                    "when you call model.train()"
                )

    @outside_the_graph
    def train(self) -> None:
        """Make parameters the points that gradients are taken at; nothing if they are already."""
        self._change_mode(True, lambda beta: 1 - beta)

    @outside_the_graph
    def eval(self) -> None:
        """Make parameters the averages, to evaluate or save them; nothing if they are already."""
        self._change_mode(False, lambda beta: 1 - 1 / beta)

    @torch.no_grad()
    def _change_mode(self, training: bool, share_of: Callable[[float], float]) -> None:
        place = 0
        for group in self.param_groups:
            for param in group["params"]:
                if group[TRAIN_MODE] != training:
                    self._swap(param, group, float(share_of(momentum_of(group))), place)
                place += 1
            group[TRAIN_MODE] = training

    def _swap(self, param: Tensor, group: Group, share: float, place: int) -> None:
        state = self.state.get(param)
        if not state or not float(state["step"]):
            return
        given = {k: local_of(v) if isinstance(v, Tensor) else v for k, v in state.items()}
        here = local_of(param.detach()) if is_dtensor(param) else param.detach()
        # With offload=True, states are elsewhere.
        moved = here.to(given["z"].device)
        treated = treatment(SWAP, {**group, "state_dtype": None}, moved, given)
        stream = noise.stream(self._step_options.rounding_seed, place)
        # Of no step, but different before each.
        key = noise.key_of(stream, (1 << 31) + 2 * int(state["step"]) + group[TRAIN_MODE])
        reference.update_kept(
            treated.rule, treated.formats, moved, moved, given, {"share": share}, key
        )
        if moved is not here:
            here.copy_(moved)
        torch.autograd.graph.increment_version([param])

    @outside_the_graph
    def attach(self, module: nn.Module) -> Attachment:
        """Let `module` raise where it is used in the wrong mode of this optimizer.

        That is a forward pass in ``module.eval()`` before :meth:`eval`; one in ``module.train()``
        with gradients before :meth:`train`; and ``module.state_dict()`` before :meth:`eval`.

        Parameters
        ----------
        module
            The model, or a part of it, whose parameters this optimizer updates.

        Returns
        -------
        Attachment
            Its ``remove()`` detaches the module.

        Raises
        ------
        UsageError
            If the module has none of the optimizer's parameters.

        Notes
        -----
        Copies of the module raise nothing.
        """
        own = {p for group in self.param_groups for p in group["params"]}
        if own.isdisjoint(module.parameters()):
            raise UsageError(
                "the module given to attach() has no parameter of this optimizer; give the model "
                "that it was built from"
            )
        return Attachment(self, module)

    @outside_the_graph
    def state_dict(self, *, compact: bool = False) -> dict[str, Any]:
        """Return the state in torch's format, with what ``schedulefree`` counts in its groups.

        See :meth:`RuleOptimizer.state_dict`. It can be taken in both modes, and says in which; the
        model's state belongs to the same mode.
        """
        found = super().state_dict(compact=compact)
        for group in found["param_groups"]:
            group.update(_counts_of(group, _entries(group, found)))
        return found

    @outside_the_graph
    def load_state_dict(self, state_dict: dict[str, Any], *, strict: bool = True) -> None:
        """Load a state that :meth:`state_dict` returned, from this package or ``schedulefree``.

        It brings the mode that it was saved in. See :meth:`RuleOptimizer.load_state_dict`.
        """
        super().load_state_dict(_with_counters(state_dict), strict=strict)


def _entries(group: Group, state_dict: dict[str, Any]) -> list[dict[str, Any]]:
    return [state_dict["state"][key] for key in group["params"] if key in state_dict["state"]]


def _counts_of(group: Group, entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What a group counts in ``schedulefree``: as the parameter that has done the most steps."""
    counted = [tuple(float(entry[name]) for name in COUNTERS) for entry in entries if entry]
    if not counted:
        return {"k": 0, "weight_sum": 0.0, "lr_max": -1.0}
    step, averaged, lr_max = max(counted)
    weight_sum = averaged * _weight(group, step, lr_max)
    return {"k": int(step), "weight_sum": weight_sum, "lr_max": lr_max}


def _weight(group: Group, step: float, lr_max: float) -> float:
    return float(step ** group["r"] * lr_max ** group["weight_lr_power"])


def _with_counters(state_dict: dict[str, Any]) -> dict[str, Any]:
    """`state_dict` with counters for each parameter, if ``schedulefree`` has counted further."""
    if not {"state", "param_groups"} <= state_dict.keys():
        return state_dict  # what is wrong is said where it is read
    state = dict(state_dict["state"])
    groups = []
    for group in state_dict["param_groups"]:
        k = group.get("k", 0)
        known = [float(entry.get("step", -1)) for entry in _entries(group, state_dict) if entry]
        if k > max(known, default=k):
            weight = _weight(group, k, group["lr_max"])
            averaged = group["weight_sum"] / weight if weight else 0.0
            values = (k, averaged, group["lr_max"])
            counters = {
                name: torch.tensor(float(value), device="cpu")
                for name, value in zip(COUNTERS, values, strict=True)
            }
            for key in group["params"]:
                if state.get(key):
                    state[key] = {**state[key], **counters}
        groups.append({k: v for k, v in group.items() if k not in _OF_SCHEDULEFREE})
    return {**state_dict, "state": state, "param_groups": groups}


class Attachment:
    """What :meth:`ScheduleFreeOptimizer.attach` returns: the hooks that it has set."""

    def __init__(self, optimizer: ScheduleFreeOptimizer, module: nn.Module) -> None:
        hooks = _Hooks(weakref.ref(optimizer))
        self._handles: list[RemovableHandle] = [
            module.register_forward_pre_hook(hooks.before_forward),
            module.register_state_dict_pre_hook(hooks.before_state_dict),  # type: ignore[no-untyped-call]
        ]

    def remove(self) -> None:
        """Detach the module from the optimizer."""
        for handle in self._handles:
            handle.remove()


class _Hooks:
    """Hooks of one module; a copy of them knows no optimizer."""

    def __init__(self, optimizer: Callable[[], ScheduleFreeOptimizer | None] | None = None) -> None:
        self._optimizer = optimizer

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hooks, ()

    def _training(self) -> bool | None:
        """Whether parameters are those for training; None where nobody knows."""
        optimizer = None if self._optimizer is None else self._optimizer()
        return None if optimizer is None else bool(optimizer.param_groups[0][TRAIN_MODE])

    def before_forward(self, module: nn.Module, _inputs: Any) -> None:
        training = self._training()
        if training and not module.training:
            raise StateError(
                "the model is in eval mode and its optimizer is not: call optimizer.eval() before "
                "you evaluate, and optimizer.train() before you go on"
            )
        if training is False and module.training and torch.is_grad_enabled():
            raise StateError(
                "the model is in training mode and its optimizer in eval mode: call "
                "optimizer.train() when you call model.train(); to renew the statistics of batch "
                "norm, run the model under torch.no_grad()"
            )

    def before_state_dict(self, *_: Any) -> None:
        if self._training():
            raise StateError(
                "the model would be saved as it is while training, not the average: call "
                "optimizer.eval() before model.state_dict(), and optimizer.train() after it"
            )
