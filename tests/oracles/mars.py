"""Yuan et al., "MARS", 2024, Algorithms 2 and 3, with last step's gradient for the last one's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group, State


def clipped(g: Tensor, state: State, group: Group, beta: float, t: int) -> Tensor:
    """c̃ of step t; keeps the gradient for the next one."""
    last = g if t == 1 else state["last_grad"]
    c = g + group["gamma"] * beta / (1 - beta) * (g - last)
    state["last_grad"].copy_(g)
    return c / c.double().norm().clamp(min=1).to(c.dtype)


class MARSAdamW(Box):
    states = ("exp_avg", "exp_avg_sq", "last_grad")

    def __init__(
        self,
        params: Any,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        gamma: float = 0.025,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, gamma=gamma,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        c = clipped(g, state, group, beta1, t)
        m.lerp_(c, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * c * c)
        u = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
        param.sub_(group["lr"] * (u + group["weight_decay"] * param))


class MARSLion(Box):
    states = ("exp_avg", "last_grad")

    def __init__(
        self,
        params: Any,
        lr: float = 3e-4,
        beta: float = 0.95,
        weight_decay: float = 0.0,
        gamma: float = 0.025,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, beta=beta, weight_decay=weight_decay, gamma=gamma, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m = state["exp_avg"]
        m.lerp_(clipped(g, state, group, group["beta"], t), 1 - group["beta"])
        sign = torch.where(m.isnan(), m, m.sign())
        param.sub_(group["lr"] * (sign + group["weight_decay"] * param))
