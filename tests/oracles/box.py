"""What all transcriptions share: a loop over parameters, and nothing that is anybody's maths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

State = dict[str, Tensor]
Group = dict[str, Any]


class Box(torch.optim.Optimizer):
    """An algorithm box: :meth:`update` is one pass through its loop's body.

    Subclasses name the states, all of which start at zero, and the counters with what they start
    from (where there is a ``step``, it is counted for them), and give `update` the body. It changes
    `param` and the tensors in `state` in place. Gradients arrive as the loss has them.
    """

    states: ClassVar[tuple[str, ...]]
    counters: ClassVar[dict[str, float]] = {"step": 0.0}

    def __init__(self, params: Any, **defaults: Any) -> None:
        if "betas" in defaults:
            defaults["betas"] = tuple(defaults["betas"])
        super().__init__(params, defaults)

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        assert closure is None
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group)

    def _update(self, param: Tensor, group: Group) -> None:
        state = self.state[param]
        if not state:
            state.update({name: torch.tensor(start) for name, start in self.counters.items()})
            for name in self.states:
                state[name] = torch.zeros_like(param)
        if "step" in self.counters:
            state["step"] += 1
        tensors = [param, param.grad, *(state[name] for name in self.states)]
        if param.is_complex():
            # Real and imaginary parts are parameters of their own, as in all of torch.optim.
            tensors = list(map(torch.view_as_real, tensors))
        real, g, *values = tensors
        if group.get("maximize"):
            g = -g
        states = {**state, **dict(zip(self.states, values, strict=True))}
        self.update(real, g, states, group, int(state.get("step", 0)))


def norm(x: Tensor) -> float:
    """Over a whole tensor."""
    return float(torch.linalg.vector_norm(x, dtype=torch.float64))


def masked(u: Tensor, direction: Tensor, g: Tensor, group: Group) -> Tensor:
    """Liang et al. 2024, Algorithm 1, with the mean bounded as in the authors' code.

    As there, the mask looks at the momentum, whose sign is that of u.
    """
    if not group.get("cautious"):
        return u
    phi = (direction.sign() * g.sign() > 0).to(u.dtype)
    if phi.numel() == 0:
        return u
    return u * phi / phi.mean().clamp(min=1e-3)


def decayed(param: Tensor, g: Tensor, group: Group) -> Tensor:
    """Weight decay of either kind, before the update: shrinks `param`, or returns another g."""
    if group["decoupled_weight_decay"]:
        if not group.get("cautious_weight_decay"):
            param.mul_(1 - decay_factor(group))
    elif group["weight_decay"]:
        g = g + group["weight_decay"] * param
    return g


def cautiously_decayed(param: Tensor, u: Tensor, group: Group) -> Tensor:
    """Chen et al. 2025, Algorithm 1: what a cautious decay of θ adds to an update u; 0 if none."""
    if not group.get("cautious_weight_decay"):
        return torch.zeros_like(param)
    aligned = (u.sign() * param.sign() >= 0).to(param.dtype)
    return decay_factor(group) * aligned * param


def decay_factor(group: Group) -> float:
    """γ λ; of Loshchilov and Hutter's own form, with the schedule's factor; of AdamC, with both."""
    share = group["lr"] / group["max_lr"] if group.get("max_lr") else 1.0
    factor = share if group.get("decouple_lr") else group["lr"]
    return factor * (share if group.get("corrected_weight_decay") else 1.0) * group["weight_decay"]
