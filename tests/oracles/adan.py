"""Xie et al., "Adan", 2022, Algorithm 1, with the bias corrections of the authors' code."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, masked


class Adan(Box):
    states = ("exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        no_prox: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, no_prox=no_prox,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused, cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, n, v, negative = (state[name] for name in self.states)
        lr, eps, decay = group["lr"], group["eps"], group["lr"] * group["weight_decay"]
        beta1, beta2, beta3 = (1 - beta for beta in group["betas"])  # the paper's
        difference = g + negative if t > 1 else g - g
        m.lerp_(g, beta1)
        v.lerp_(difference, beta2)
        n.copy_((1 - beta3) * n + beta3 * (g + (1 - beta2) * difference) ** 2)
        m_hat = m / (1 - (1 - beta1) ** t)
        v_hat = v / (1 - (1 - beta2) ** t)
        n_hat = n / (1 - (1 - beta3) ** t)
        direction = m_hat + (1 - beta2) * v_hat
        u = masked(direction / (n_hat.sqrt() + eps), direction, g, group)
        if group["no_prox"]:
            param.mul_(1 - decay).sub_(lr * u)
        else:
            param.sub_(lr * u).div_(1 + decay)
        negative.copy_(-g)
