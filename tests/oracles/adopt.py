"""Taniguchi et al., "ADOPT", 2024, Algorithm 2, with weight decay as in the authors' code."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, masked


class ADOPT(Box):
    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        clip_exp: float | None = 0.25,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay, clip_exp=clip_exp, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
            cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        lr, weight_decay = group["lr"], group["weight_decay"]
        if not group["decoupled_weight_decay"] and weight_decay:
            g = g + weight_decay * param
        t -= 1  # the paper's first step is number 0
        if t == 0:
            v.copy_(g * g)
            return
        normed = g / v.sqrt().clamp(min=group["eps"])
        if group["clip_exp"] is not None:
            c = t ** group["clip_exp"]
            normed = normed.clamp(-c, c)
        m.lerp_(normed, 1 - beta1)
        if group["decoupled_weight_decay"]:
            param.mul_(1 - lr * weight_decay)
        param.sub_(lr * masked(m, m, g, group))
        v.copy_(beta2 * v + (1 - beta2) * g * g)
