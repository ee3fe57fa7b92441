"""Liang et al., "Cautious Optimizers", 2024, Algorithm 1, around Kingma and Ba's boxes.

Without `cautious` these are torch's optimizers, which is how ``test_oracles.py`` checks them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group, State, cautiously_decayed, decayed, masked


class CautiousAdam(Box):
    """Adam with the settings of torch's; AMSGrad's state is made only where it is asked for."""

    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        cautious: bool = False,
        **decay: Any,
    ) -> None:
        if cautious:  # a group holds it only then
            decay["cautious"] = True
        if amsgrad:
            self.states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused,
            decoupled_weight_decay=decoupled_weight_decay, **decay,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        g = decayed(param, g, group)
        m.lerp_(g, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            largest.copy_(torch.maximum(largest, v))
            v = largest
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        u = group["lr"] * masked(m_hat / (v_hat.sqrt() + group["eps"]), m, g, group)
        param.sub_(u + cautiously_decayed(param, u, group))


class CautiousAdamW(CautiousAdam):
    def __init__(self, params: Any, weight_decay: float = 1e-2, **settings: Any) -> None:
        settings["decoupled_weight_decay"] = True
        super().__init__(params, weight_decay=weight_decay, **settings)


class CautiousAdamax(Box):
    states = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach,
            maximize=maximize, differentiable=differentiable, capturable=capturable,
            cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, u, (beta1, beta2) = state["exp_avg"], state["exp_inf"], group["betas"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * param
        m.lerp_(g, 1 - beta1)
        u.copy_(torch.maximum(beta2 * u, g.abs() + group["eps"]))
        param.sub_(group["lr"] / (1 - beta1**t) * masked(m / u, m, g, group))


class CautiousRAdam(Box):
    """Liu et al., "On the Variance of the Adaptive Learning Rate", 2020, with torch's ε."""

    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable,
            decoupled_weight_decay=decoupled_weight_decay, cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        g = decayed(param, g, group)
        m.lerp_(g, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        u = m / (1 - beta1**t)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            u = u * (r * (1 - beta2**t)) ** 0.5 / (v.sqrt() + group["eps"])
        param.sub_(group["lr"] * masked(u, m, g, group))


class CautiousNAdam(Box):
    """Dozat, "Incorporating Nesterov Momentum into Adam", 2016, with torch's schedule."""

    states = ("exp_avg", "exp_avg_sq")
    counters = {"step": 0.0, "mu_product": 1.0}

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        cautious: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, cautious=cautious,
        )  # fmt: skip

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        g = decayed(param, g, group)
        mu, next_mu = (
            beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1)
        )
        product = float(state["mu_product"]) * mu
        state["mu_product"].fill_(product)
        m.lerp_(g, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        ahead = (1 - mu) / (1 - product) * g + next_mu / (1 - product * next_mu) * m
        u = ahead / ((v / (1 - beta2**t)).sqrt() + group["eps"])
        param.sub_(group["lr"] * masked(u, ahead, g, group))
