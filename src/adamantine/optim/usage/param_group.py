"""Parameter groups of one optimizer's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Group = dict[str, Any]


def own_group(given: Group, defaults: Mapping[str, Any]) -> Group:
    """A group for one optimizer from what a caller has given, who may use that again.

    torch writes an optimizer's settings into the given dictionary, which then decide in the next
    optimizer that gets it. Here nothing is written but a list in the place of an iterator over
    parameters, since that can be read only once.
    """
    if isinstance(given.get("params"), Iterator):
        given["params"] = list(given["params"])
    # A plain dictionary: torch.compile reads groups, and takes no other.
    return {key: copied(value) for key, value in {**defaults, **given}.items()}


def copied(value: Any) -> Any:
    """Containers of settings of one's own; tensors stay the caller's, who may write to them."""
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    return list(map(copied, value)) if type(value) is list else value
