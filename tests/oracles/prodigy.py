"""Mishchenko and Defazio, "Prodigy", 2023, Algorithm 4, with the sums over all parameters.

As the authors' package has it: the next d beside ε, and s and r without their common factor.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan
from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group


class Prodigy(Box):
    states = ("exp_avg", "exp_avg_sq", "s", "p0")

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decouple: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = inf,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, beta3=beta3, eps=eps, weight_decay=weight_decay,
            decouple=decouple, use_bias_correction=use_bias_correction,
            safeguard_warmup=safeguard_warmup, d0=d0, d_coef=d_coef, growth_rate=growth_rate,
            foreach=foreach, maximize=maximize, fused=fused,
            d=d0, d_max=d0, d_numerator=0.0, k=0,
        )  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        assert closure is None
        first = self.param_groups[0]
        k = first["k"] + 1
        way = slope = 0.0
        moves = []
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            beta3 = group["beta3"] if group["beta3"] is not None else beta2**0.5
            d, lam = group["d"], group["weight_decay"]
            gamma = float(group["lr"])
            if group["use_bias_correction"]:
                gamma *= (1 - beta2**k) ** 0.5 / (1 - beta1**k)
            for param in group["params"]:
                if param.grad is None:
                    continue
                theta, g, state = self._tensors(param, group)
                m, v, s, theta0 = (state[name] for name in self.states)
                if gamma == 0:
                    continue
                if not group["decouple"] and lam:
                    g = g + lam * theta
                weight = d * d * (1 if group["safeguard_warmup"] else gamma) / group["d0"]
                way += gamma * d * d / group["d0"] * _sum(g * (theta0 - theta))
                m.lerp_(d * g, 1 - beta1)
                v.copy_(beta2 * v + (1 - beta2) * (d * g) ** 2)
                s.copy_(beta3 * s + weight * g)
                slope += _sum(s.abs())
                moves.append((theta, m, v, gamma * d, group))
        found = self._estimate(first, way, slope)
        for theta, m, v, rate, group in moves:
            lam = group["weight_decay"] if group["decouple"] else 0.0
            u = m / (v.sqrt() + found["d"] * group["eps"])
            theta.sub_(rate * (u + lam * theta if lam else u))
        for group in self.param_groups:
            group |= found

    def _tensors(self, param: Tensor, group: Group) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state |= {name: torch.zeros_like(param) for name in self.states[:2]}
            state["s"] = torch.zeros_like(param).flatten()
            state["p0"] = param.detach().clone().flatten()
        state["step"] += 1
        tensors = [param, param.grad, *(state[name].view(param.shape) for name in self.states)]
        if param.is_complex():
            tensors = list(map(torch.view_as_real, tensors))
        theta, g, *values = tensors
        g = -g if group["maximize"] else g
        return theta, g, dict(zip(self.states, values, strict=True))

    @staticmethod
    def _estimate(group: Group, way: float, slope: float) -> dict[str, Any]:
        d, d_max = group["d"], group["d_max"]
        if slope == 0:
            return {"d": d}
        beta3 = group["beta3"] if group["beta3"] is not None else group["betas"][1] ** 0.5
        numerator = beta3 * group["d_numerator"] + way
        d_hat = group["d_coef"] * numerator / slope
        if not isnan(d_hat):
            d_max = max(d_max, d_hat)
            d = max(d, d_hat) if d == group["d0"] else d
        d = min(d_max, d * group["growth_rate"])
        return {"d": d, "d_max": d_max, "d_numerator": numerator, "k": group["k"] + 1}

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        for group in found["param_groups"]:
            group |= {"fsdp_in_use": False, "slice_p": 1}
        return found


def _sum(x: Tensor) -> float:
    return float(x.double().sum())
