"""Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, Algorithm 2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group, State, cautiously_decayed, masked


class Lion(Box):
    states = ("exp_avg",)
    counters = {}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        cautious: bool = False,
        cautious_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
            cautious=cautious, cautious_weight_decay=cautious_weight_decay,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, (beta1, beta2) = state["exp_avg"], group["betas"]
        c = m.lerp(g, 1 - beta1)
        u = torch.where(c.isnan(), c, c.sign())
        u = group["lr"] * masked(u, c, g, group)
        if not group["cautious_weight_decay"]:
            u = u + group["lr"] * group["weight_decay"] * param
        param.sub_(u + cautiously_decayed(param, u, group))
        m.lerp_(g, 1 - beta2)
