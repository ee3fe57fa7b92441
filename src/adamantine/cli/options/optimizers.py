"""Whether an optimizer can be what the command line asks for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adamantine.errors import BackendError, UsageError
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.by_name import OPTIMIZERS, build, settings_of
from adamantine.optim.usage.options import NAMES
from adamantine.train.tables import is_sparse_table

FLAGS = ("lr", "betas", "eps", "weight_decay", "sparse", "momentum")
"""The settings that can be given on the command line."""
COMMON = ("state_dtype", "max_grad_norm")
"""Options that can be given for every optimizer."""


def check_settings(name: str, given: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` unless `name` is an optimizer that takes the settings `given`."""
    known = {*settings_of(name), *NAMES}
    for setting in given:
        if setting not in known:
            flags = ", ".join(flag(other) for other in FLAGS if other in known)
            raise UsageError(f"{name} has no {flag(setting)}; its settings are {flags}")
    # Ranges are the optimizer's own to check: better now than after the data is loaded.
    optimizer = build(name, [("parameter", nn.Parameter(torch.zeros(1)))], given)
    assert isinstance(optimizer, RuleOptimizer)
    exact = optimizer.family.select(optimizer.param_groups[0]).exact
    if exact and given.get("state_dtype", "float32") != "float32":
        raise UsageError(
            f"{name} takes no --state-dtype but float32: its state {exact[0]!r} must not be "
            "rounded; in Python, state_dtype may name the others"
        )


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


def flag(setting: str) -> str:
    """A setting as it is typed."""
    return f"--{setting.replace('_', '-')}"
