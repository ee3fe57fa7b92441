"""You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017, Algorithm 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oracles.box import Box, Group, State, norm


class LARS(Box):
    states = ("momentum_buffer",)
    counters = {}

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        trust_coefficient: float = 1e-3,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, momentum=momentum, weight_decay=weight_decay,
            trust_coefficient=trust_coefficient, maximize=maximize, foreach=foreach,
            capturable=capturable, differentiable=differentiable, fused=fused,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        v, decay = state["momentum_buffer"], group["weight_decay"]
        size, length = norm(param), norm(g)
        rate = 1.0
        if size != 0 and length != 0:
            rate = group["trust_coefficient"] * size / (length + decay * size)
        if decay:
            g = g + decay * param
        v.copy_(group["momentum"] * v + group["lr"] * rate * g)
        param.sub_(v)
