"""Torch's own switches for its implementations, refused where torch refuses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from adamantine.backends import BackendName
from adamantine.errors import BackendError
from adamantine.rules import Family

Group = dict[str, Any]

FOREACH, FUSED = "foreach", "fused"
BY_AUTOGRAD, CAPTURABLE = "differentiable", "capturable"
HINTS = (FOREACH, FUSED, BY_AUTOGRAD, CAPTURABLE)

_FUSED_ON = ["mps", "cuda", "xpu", "hpu", "cpu", "mtia", "privateuseone"]
_CAPTURABLE_ON = ["cuda", "xpu", "hpu", "privateuseone", "xla"]


def check_hints(
    group: Group,
    params: list[Tensor],
    family: Family,
    owner: str,
    mode_of: Callable[[Group], Any],
    backend: BackendName,
) -> None:
    """Raise what torch's class raises in `step` for the switches of a group, and in its order.

    A group can be given other switches than the constructor has seen. As in torch, parameters
    without a gradient do not count. `mode_of` refuses sparse gradients where torch does. Which
    parameters ``backend="gpu"`` takes is its own to say.
    """
    if not any(map(group.get, HINTS)):
        return
    if family.select(group).shared_sums is not None:
        _check_shared_sums(group, owner)
    params = [p for p in params if p.grad is not None]
    if not params:
        return
    if any(p.grad is not None and p.grad.is_sparse for p in params):
        mode_of(group)
    if group.get(FUSED):
        _check_fused(group, params, owner)
    if group.get(FOREACH):
        _check_foreach(group, family)
    # Torch's fused steps on the CPU take no notice of it.
    fused_on_cpu = group.get(FUSED) and all(p.is_cpu for p in params)
    if group.get(CAPTURABLE) and not fused_on_cpu and backend != "gpu":
        _check_capturable(params[0], family)


def _check_shared_sums(group: Group, owner: str) -> None:
    if group.get(BY_AUTOGRAD):
        raise BackendError(
            f"differentiable=True does not go with {owner}: what sums over all parameters decide "
            "would count as a constant in derivatives; use differentiable=False"
        )
    if group.get(CAPTURABLE):
        raise BackendError(
            f"capturable=True does not go with {owner}: in each step the host waits for sums over "
            "all parameters, which a CUDA graph cannot; use capturable=False"
        )


def _check_fused(group: Group, params: list[Tensor], owner: str) -> None:
    for param in params:
        if not param.is_floating_point() or param.device.type not in _FUSED_ON:
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors of supported "
                f"devices: {_FUSED_ON} but {param.dtype} and {param.device.type}"
            )
        grad = param.grad
        if grad is not None and grad.is_sparse and group.get("sparse") is None:
            raise BackendError(
                f"`fused` does not support sparse gradients in {owner}; leave it out (it changes "
                "nothing else here), or say by sparse= what they stand for"
            )
    if group.get(BY_AUTOGRAD):
        raise RuntimeError(f"{owner} with fused=True does not support differentiable=True")


def _check_foreach(group: Group, family: Family) -> None:
    if family.name == "adam" and not group.get(CAPTURABLE):
        words = "as a Tensor is not supported for capturable=False and foreach=True"
        if isinstance(group["lr"], Tensor):
            raise RuntimeError(f"lr {words}")
        for number, beta in enumerate(group["betas"], 1):
            if isinstance(beta, Tensor) and not group.get(FUSED):
                raise ValueError(f"beta{number} {words}")
    if group.get(BY_AUTOGRAD) and family.name != "sgd":
        raise AssertionError("_foreach ops don't support autograd: leave foreach=True out")


def refuse_complex(params: Iterable[Tensor], owner: str) -> None:
    """Raise for complex parameters that are about to be updated."""
    if any(p.grad is not None and p.is_complex() for p in params):
        raise BackendError(
            f"{owner} does not support complex parameters; give it torch.view_as_real of them"
        )


def refuse_capture(params: Iterable[Tensor], owner: str) -> None:
    """Raise while a CUDA graph is being captured: a replay would repeat this step's numbers."""
    if any(p.is_cuda for p in params) and torch.cuda.is_current_stream_capturing():
        raise BackendError(
            f"Attempting CUDA graph capture of step() for an instance of {owner} but param_groups' "
            "capturable is False: replays would repeat this step's numbers; build the optimizer "
            "with capturable=True"
        )


def _check_capturable(param: Tensor, family: Family) -> None:
    if param.device.type not in _CAPTURABLE_ON:
        # The type and words of torch.optim there.
        named = ["params", *(f"{name}s" for name in reversed(family.counters[1:]))]
        names = f"{', '.join(named)}{',' if len(named) > 2 else ''} and state_steps"
        raise AssertionError(
            f"If capturable=True, {names} must be on supported devices: {_CAPTURABLE_ON}."
        )
