"""Defazio et al., "The Road Less Scheduled", 2024, Algorithm 1, with its x, y and z.

The parameter is y. What a state dict says besides is what the authors' package counts in groups.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State


class _ScheduleFree(Box):
    counters = {"step": 0.0, "averaged": 0.0, "lr_max": 0.0}

    def direction(self, g: Tensor, state: State, group: Group, t: int) -> tuple[Tensor, float]:
        """What z descends along, decay apart, and the learning rate."""
        raise NotImplementedError

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        z, y, beta = state["z"], param.clone(), group.get("momentum") or group["betas"][0]
        if t == 1:
            z.copy_(y)
        x = (y - (1 - beta) * z) / beta
        before, power = float(state["lr_max"]), group["weight_lr_power"]
        weight_sum = float(state["averaged"]) * (max(t - 1, 1) ** group["r"] * before**power)
        u, lr = self.direction(g, state, group, t)
        largest = max(before, float(lr))
        weight = t ** group["r"] * largest**power
        c = weight / (weight_sum + weight) if weight else 0.0
        z.sub_(lr * (u + group["weight_decay"] * y))
        x = (1 - c) * x + c * z
        param.copy_((1 - beta) * z + beta * x)
        state["averaged"].fill_((weight_sum + weight) / weight if weight else 0.0)
        state["lr_max"].fill_(largest)

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        for group in found["param_groups"]:
            entries = [found["state"][i] for i in group["params"] if found["state"].get(i)]
            counted = [tuple(float(e[name]) for name in self.counters) for e in entries]
            t, averaged, largest = max(counted, default=(0, 0.0, -1.0))
            weight = t ** group["r"] * largest ** group["weight_lr_power"] if t else 0.0
            group |= {"k": int(t), "weight_sum": averaged * weight, "lr_max": largest}
        return found


def _warmed_up(group: Group, t: int) -> Any:
    return group["lr"] * min(1.0, t / group["warmup_steps"] if group["warmup_steps"] else 1.0)


class AdamWScheduleFree(_ScheduleFree):
    states = ("z", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-3,
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
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, warmup_steps=warmup_steps,
            weight_decay=weight_decay, r=r, weight_lr_power=weight_lr_power, foreach=foreach,
            maximize=maximize, capturable=capturable, differentiable=differentiable, fused=fused,
            train_mode=True,
        )  # fmt: skip

    def direction(self, g: Tensor, state: State, group: Group, t: int) -> tuple[Tensor, float]:
        v, beta2 = state["exp_avg_sq"], group["betas"][1]
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        return g / ((v / (1 - beta2**t)).sqrt() + group["eps"]), _warmed_up(group, t)


class RAdamScheduleFree(_ScheduleFree):
    states = ("z", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-3,
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
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, silent_sgd_phase=silent_sgd_phase,
            weight_decay=weight_decay, r=r, weight_lr_power=weight_lr_power, foreach=foreach,
            maximize=maximize, capturable=capturable, differentiable=differentiable, fused=fused,
            train_mode=True,
        )  # fmt: skip

    def direction(self, g: Tensor, state: State, group: Group, t: int) -> tuple[Tensor, float]:
        v, beta2 = state["exp_avg_sq"], group["betas"][1]
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length <= 4:
            return g, 0.0 * group["lr"] if group["silent_sgd_phase"] else group["lr"]
        rect = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return g / ((v / (1 - beta2**t)).sqrt() + group["eps"]), group["lr"] * rect**0.5


class SGDScheduleFree(_ScheduleFree):
    states = ("z",)

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
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
    ) -> None:
        super().__init__(
            params, lr=lr, momentum=momentum, warmup_steps=warmup_steps,
            weight_decay=weight_decay, r=r, weight_lr_power=weight_lr_power, foreach=foreach,
            maximize=maximize, capturable=capturable, differentiable=differentiable, fused=fused,
            train_mode=True,
        )  # fmt: skip

    def direction(self, g: Tensor, state: State, group: Group, t: int) -> tuple[Tensor, float]:
        return g, _warmed_up(group, t)
