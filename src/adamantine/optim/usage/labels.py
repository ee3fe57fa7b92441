"""How messages call parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def label(groups: Sequence[dict[str, Any]], param: Tensor) -> str:
    """The parameter's name where the groups have names, else its place in them."""
    for index, group in enumerate(groups):
        for position, other in enumerate(group["params"]):
            if other is param:
                return label_at(group, index, position)
    return f"a parameter of shape {tuple(param.shape)}"


def label_at(group: dict[str, Any], index: int, position: int) -> str:
    """The label of the parameter at `position` in `group`, which is the group number `index`."""
    names = group.get("param_names")
    # There are fewer where somebody has added to the list of parameters.
    if names is not None and position < len(names):
        return f"parameter {names[position]!r}"
    return f"parameter {position} of group {index}"


def several(names: Sequence[str], limit: int = 8) -> str:
    """The names, comma-separated; of many the first few and how many more there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
