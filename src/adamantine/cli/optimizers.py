"""From the command line's settings to an optimizer."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from adamantine import optim
from adamantine.errors import BackendError, UsageError
from adamantine.optim import RuleOptimizer
from adamantine.optim.options import NAMES
from adamantine.train.tables import is_sparse_table

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name.lower(): getattr(optim, name)
    for name in sorted(optim.__all__, key=str.lower)
    if name != RuleOptimizer.__name__
}
FLAGS = ("lr", "betas", "eps", "weight_decay", "sparse", "momentum")
"""The settings that can be given on the command line."""
COMMON = ("state_dtype", "max_grad_norm")
"""Options that can be given for every optimizer."""
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
        raise UsageError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    parameters = inspect.signature(OPTIMIZERS[name]).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.name not in HIDDEN and p.kind is not p.VAR_KEYWORD
    }


def check_settings(name: str, given: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` unless `name` is an optimizer that takes the settings `given`."""
    known = {*settings_of(name), *NAMES}
    for setting in given:
        if setting not in known:
            flags = ", ".join(flag(other) for other in FLAGS if other in known)
            raise UsageError(f"{name} has no {flag(setting)}; its settings are {flags}")
    # Ranges are the optimizer's own to check: better now than after the data is loaded.
    build(name, [nn.Parameter(torch.zeros(1))], given)


def check_sparse(name: str, given: Mapping[str, Any], model: nn.Module) -> None:
    """Raise :class:`UsageError` where `model` has sparse gradients and the optimizer refuses them.

    Better than its own error in the first step, since it names what to type.
    """
    if not any(is_sparse_table(module) for module in model.modules()):
        return
    table = nn.Embedding(1, 1, sparse=True, _weight=torch.zeros(1, 1))
    table(torch.tensor([0])).sum().backward()
    try:
        build(name, table.parameters(), {**given, "backend": "reference"}).step()
    except BackendError as error:
        taking = [other for other in OPTIMIZERS if "sparse" in settings_of(other)]
        if name not in taking:
            advice = f"{name} takes none; choose {', '.join(taking)} with --sparse lazy or exact"
        elif "sparse" not in given:
            advice = f"give {name} --sparse lazy or --sparse exact (docs/sparse.md says which)"
        else:
            advice = str(error)
        raise UsageError(f"this workload's model gives sparse gradients: {advice}") from error


def build(
    name: str,
    parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
    given: Mapping[str, Any],
) -> torch.optim.Optimizer:
    """The optimizer called `name`; what is not `given` is at its default."""
    return OPTIMIZERS[name](parameters, **given)


def flag(setting: str) -> str:
    """A setting as it is typed."""
    return f"--{setting.replace('_', '-')}"
