"""Shazeer and Stern, "Adafactor", 2018, Algorithms 4 and 5, with the authors' options.

ε1 is where torch has it, which is the oracle of the rest; :mod:`test_peers` has Hugging Face's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles.box import Box, Group, State


def rms(x: Tensor) -> float:
    return float(x.double().square().sum() / max(1, x.numel())) ** 0.5


class Adafactor(Box):
    states = ()

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
        beta1: float | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        given = locals()
        names = ["lr", "beta2_decay", "eps", "d", "weight_decay", "foreach", "maximize"]
        others = {"scale_parameter": True, "relative_step": True, "warmup_init": False}
        switches = {name: given[name] for name in others if given[name] != others[name]}
        if beta1:
            switches["beta1"] = beta1
        super().__init__(params, **{name: given[name] for name in names}, **switches)

    def update(self, param: Tensor, g: Tensor, state: State, group: Group, t: int) -> None:
        own = self.state[self._whose]
        eps1, eps2 = group["eps"]
        eps1 = torch.finfo(param.dtype).eps if eps1 is None else eps1
        mix2 = t ** group["beta2_decay"]
        lr = group["lr"]
        rho = lr
        if group.get("relative_step", True):
            rho = min(rho, t**-0.5)
        if group.get("warmup_init"):
            rho = min(rho, 1e-6 * t)
        alpha = rho * (max(eps2, rms(param)) if group.get("scale_parameter", True) else 1)
        if g.dim() > 1:
            r = own.setdefault("row_var", g.new_zeros(*g.shape[:-1], 1))
            c = own.setdefault("col_var", g.new_zeros(*g.shape[:-2], 1, g.shape[-1]))
            if g.numel():
                r.copy_((1 - mix2) * r + mix2 * (g * g).mean(-1, keepdim=True))
                c.copy_((1 - mix2) * c + mix2 * (g * g).mean(-2, keepdim=True))
            v = r * c / r.mean(-2, keepdim=True).clamp(min=eps1)
        else:
            v = own.setdefault("variance", torch.zeros_like(g))
            v.copy_((1 - mix2) * v + mix2 * g * g)
        u = g / v.clamp(min=eps1 * eps1).sqrt()
        u = alpha * u / max(1.0, rms(u) / group["d"])
        if beta1 := group.get("beta1"):
            average = own.setdefault("exp_avg", torch.zeros_like(g))
            average.copy_(beta1 * average + (1 - beta1) * u)
            u = average
        param.sub_(lr * group["weight_decay"] * param + u)

    def _update(self, param: Tensor, group: Group) -> None:
        self._whose = param
        super()._update(param, group)


class TorchsAdafactor(torch.optim.Adafactor):
    """Torch's class, which divides by the number of elements where there are none."""

    def step(self, closure: Any = None) -> Any:
        empty = []
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and not param.numel():
                    if not self.state[param]:
                        self._init_group({"params": [param]}, *([] for _ in range(6)))
                    self.state[param]["step"] += 1
                    empty.append((param, param.grad))
                    param.grad = None
        try:
            return super().step(closure)
        finally:
            for param, grad in empty:
                param.grad = grad
