"""Optimizers by their names in lower case, as people type them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from adamantine import optim
from adamantine.errors import UsageError
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.usage.spelling import nearest

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name.lower(): getattr(optim, name)
    for name in sorted(optim.__all__, key=str.lower)
    if name != RuleOptimizer.__name__
}
# Hints to torch's implementations and switches that a person at a terminal has no use for.
HIDDEN = ("params", "foreach", "fused", "capturable", "differentiable", "maximize", "backend")


def settings_of(name: str) -> dict[str, Any]:
    """The settings of the optimizer called `name` and their defaults.

    Raises
    ------
    UsageError
        There is no such optimizer.
    """
    if name not in OPTIMIZERS:
        near = nearest(name, OPTIMIZERS, cutoff=0.6)
        hint = f"did you mean {near!r}? There are" if near else "expected one of"
        raise UsageError(f"optimizer is {name!r}, {hint} {', '.join(OPTIMIZERS)}")
    settings = keywords(OPTIMIZERS[name])
    return {key: p.default for key, p in settings.items() if key not in HIDDEN}


def keywords(cls: type[torch.optim.Optimizer]) -> dict[str, inspect.Parameter]:
    """What `cls` is built with, by name, without ``*args`` and ``**kwargs``."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def build(
    name: str,
    parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
    given: Mapping[str, Any],
) -> torch.optim.Optimizer:
    """The optimizer called `name`; what is not `given` is at its default."""
    return OPTIMIZERS[name](parameters, **given)
