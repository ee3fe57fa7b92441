"""Pagliardini et al., "The AdEMAMix Optimizer", 2024, Algorithm 1."""

from __future__ import annotations

from math import exp, log
from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, masked


class AdEMAMix(Box):
    states = ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 2.0,
        beta3_warmup: int | None = None,
        alpha_warmup: int | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, alpha=alpha, beta3_warmup=beta3_warmup,
            alpha_warmup=alpha_warmup, eps=eps, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
            cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m1, m2, v = (state[name] for name in self.states)
        beta1, beta2, beta3 = group["betas"]
        alpha, lr = group["alpha"], group["lr"]
        if T := group["alpha_warmup"]:
            alpha = min(t * alpha / T, alpha)
        if T := group["beta3_warmup"]:
            start, end = log(beta1), log(beta3)
            beta3 = min(exp(start * end / ((1 - t / T) * end + t / T * start)), beta3)
            if t >= T:
                beta3 = group["betas"][2]  # from there on the fraction is none, or beyond it
        m1.lerp_(g, 1 - beta1)
        m2.lerp_(g, 1 - beta3)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        direction = m1 / (1 - beta1**t) + alpha * m2
        u = direction / ((v / (1 - beta2**t)).sqrt() + group["eps"])
        u = masked(u, direction, g, group)
        param.sub_(lr * (u + group["weight_decay"] * param))
