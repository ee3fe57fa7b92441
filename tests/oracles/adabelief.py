"""Zhuang et al., "AdaBelief Optimizer", 2020, Algorithm 2."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, decayed, masked


class AdaBelief(Box):
    states = ("exp_avg", "exp_avg_var")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
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
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize, foreach=foreach,
            capturable=capturable, differentiable=differentiable, fused=fused, cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, s, (beta1, beta2) = state["exp_avg"], state["exp_avg_var"], group["betas"]
        lr, eps = group["lr"], group["eps"]
        g = decayed(param, g, group)
        m.lerp_(g, 1 - beta1)
        s.copy_(beta2 * s + (1 - beta2) * (g - m) ** 2 + eps)
        m_hat = m / (1 - beta1**t)
        s_hat = s / (1 - beta2**t)
        param.sub_(lr * masked(m_hat / (s_hat.sqrt() + eps), m, g, group))
