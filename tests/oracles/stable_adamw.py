"""Wortsman et al., "Stable and low-precision training", 2023, Algorithm 2."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State


class StableAdamW(Box):
    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        v, u, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        eps = group["eps"]
        v.lerp_(g, 1 - beta1)
        u.copy_(beta2 * u + (1 - beta2) * g * g)
        v_hat, u_hat = v / (1 - beta1**t), u / (1 - beta2**t)
        rms = float((g.double() ** 2 / u_hat.double().clamp(min=eps**2)).mean().sqrt())
        lr = group["lr"] / (rms if rms > 1 or rms != rms else 1)
        param.sub_(lr * (v_hat / (u_hat.sqrt() + eps) + group["weight_decay"] * param))
