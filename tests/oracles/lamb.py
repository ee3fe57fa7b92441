"""You et al., "Large Batch Optimization for Deep Learning", 2020, Algorithm 2."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, norm


class LAMB(Box):
    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
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
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        m.lerp_(g, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        r = m_hat / (v_hat.sqrt() + group["eps"])
        if group["weight_decay"]:
            r = r + group["weight_decay"] * param
        size, length = norm(param), norm(r)
        ratio = 1.0 if size == 0 or length == 0 else size / length
        param.sub_(group["lr"] * ratio * r)
