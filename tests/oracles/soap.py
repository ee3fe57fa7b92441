"""Vyas et al., "SOAP", 2024, Algorithm 3, with averages in the basis, as in the authors' code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group, decay_factor

SIDES = (("L", "Q_L"), ("R", "Q_R"))


class SOAP(Box):
    def __init__(
        self,
        params: Any,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10_000,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, shampoo_beta=shampoo_beta, eps=eps,
            weight_decay=weight_decay, precondition_frequency=precondition_frequency,
            max_precond_dim=max_precond_dim, foreach=foreach, maximize=maximize, fused=fused,
        )  # fmt: skip

    def _update(self, param: Tensor, group: Group) -> None:
        state = self.state[param]
        # Decompositions, as all else, are in float32 at least.
        dtype = torch.promote_types(param.dtype, torch.float32)
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
            sides = param.shape if param.dim() > 1 else ()
            for (kept, basis), side in zip(SIDES, sides, strict=False):
                n = side if side <= group["max_precond_dim"] else 0
                state[kept], state[basis] = (torch.zeros(n, n, dtype=dtype) for _ in range(2))
        state["step"] += 1
        step = int(state["step"]) - 1
        now = {name: value.to(dtype) for name, value in state.items()}
        moved, g = param.to(dtype), (-param.grad if group["maximize"] else param.grad).to(dtype)
        if step:
            self._move(moved, self._turned(g, now), now, group, step)
        if param.dim() > 1:
            self._look(g, now, group, step)
        param.copy_(moved)
        for name, value in state.items():
            value.copy_(now[name])

    def _move(self, param: Tensor, g: Tensor, state: Any, group: Group, step: int) -> None:
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.lerp_(g, 1 - beta1)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        size = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        u = self._turned(m / (v.sqrt() + group["eps"]), state, back=True)
        param.mul_(1 - decay_factor(group))
        param.sub_(size * u)

    def _turned(self, x: Tensor, state: Any, back: bool = False) -> Tensor:
        left, right = state.get("Q_L"), state.get("Q_R")
        if left is not None and left.numel():
            x = (left if back else left.T) @ x
        if right is not None and right.numel():
            x = x @ (right.T if back else right)
        return x

    def _look(self, g: Tensor, state: Any, group: Group, step: int) -> None:
        beta = group["betas"][1] if group["shampoo_beta"] is None else group["shampoo_beta"]
        outer = g @ g.T, g.T @ g
        m = self._turned(state["exp_avg"], state, back=True)
        for dim, (kept, basis) in enumerate(SIDES):
            if not state[kept].numel():
                continue
            state[kept].copy_(beta * state[kept] + (1 - beta) * outer[dim])
            q = state[basis]
            if step == 0:
                q.copy_(torch.linalg.eigh(state[kept]).eigenvectors.flip(1))
            elif step % group["precondition_frequency"] == 0:
                values = torch.diag(q.T @ state[kept] @ q)
                order = values.argsort(descending=True)
                state["exp_avg_sq"].copy_(state["exp_avg_sq"].index_select(dim, order))
                q.copy_(torch.linalg.qr(state[kept] @ q[:, order]).Q)
        state["exp_avg"].copy_(self._turned(m, state))
