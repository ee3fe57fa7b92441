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

Parameters = nn.Module | Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name.lower(): getattr(optim, name)
    for name in sorted(optim.__all__, key=str.lower)
    if name != RuleOptimizer.__name__ and getattr(optim, name).takes_dense
}
"""Those that can train a whole model."""

# Hints to torch's implementations and switches that a person at a terminal has no use for.
HIDDEN = ("params", "foreach", "fused", "capturable", "differentiable", "maximize", "backend")


def ours() -> tuple[str, ...]:
    """The optimizers of ``adamantine`` that are this package's own; all others are torch's.

    Every public name of ``torch.optim`` is one of ``adamantine``, so that ``import adamantine as
    optim`` can take the place of ``import torch.optim as optim``. What is not in this list is the
    very object of the installed torch: ``adamantine.LBFGS is torch.optim.LBFGS``.

    Returns
    -------
    tuple of str
        Names of classes, of which torch may have some and not others.

    Notes
    -----
    Torch's own classes take none of the settings that ours share (:class:`adamantine.Options`).

    Examples
    --------
    >>> import adamantine
    >>> "AdamW" in adamantine.ours(), "LBFGS" in adamantine.ours()
    (True, False)
    """
    names = (name for name in optim.__all__ if name != RuleOptimizer.__name__)
    return tuple(sorted(names, key=str.lower))


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


def build(name: str, parameters: Parameters, given: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer called `name`, of a model or its parameters; the rest is at its defaults."""
    cls = OPTIMIZERS[name]
    return cls(for_class(cls, parameters), **given)


def for_class(cls: type[torch.optim.Optimizer], parameters: Parameters) -> Any:
    """What a class is built from: of a model, as much as it takes.

    Names go to our own classes only, whose errors then have them; torch's older ones and the users'
    may not take any.
    """
    given: Any = parameters
    if isinstance(parameters, nn.Module):
        if getattr(cls, "takes_model", False):
            return parameters
        given = parameters.named_parameters()
    if issubclass(cls, RuleOptimizer):
        return given
    return [each[1] if isinstance(each, tuple) else each for each in given]
