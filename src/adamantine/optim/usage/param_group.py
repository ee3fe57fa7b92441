"""Parameter groups of one optimizer's own, and the settings that they begin with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

Group = dict[str, Any]

SWITCHES = frozenset(
    (
        *("cautious", "cautious_weight_decay", "decouple_lr", "corrected_weight_decay", "max_lr"),
        *("algorithm", "flatten", "ns_dtype", "normuon", "normuon_beta2"),
        *("scale_parameter", "relative_step", "warmup_init", "beta1"),
    )
)
"""Settings that torch's class of a name does not have. A group holds them where they are not as
that class behaves."""

AS_TORCH = frozenset(("scale_parameter", "relative_step"))
"""Those of them that are on where all is as in torch's class."""

_OF_THE_OPTIMIZER = {"self", "__class__", "params", "sparse", "backend", "options"}


def group_settings(arguments: Mapping[str, Any], only_if_on: Collection[str] = ()) -> Group:
    """What groups hold of a constructor's arguments, which are its ``locals()`` at the beginning.

    `only_if_on` are switches that torch's class of the name does not have: off, or on where torch
    does the same, they leave a group's settings as torch's are.
    """
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.items()
        if name not in _OF_THE_OPTIMIZER
        if name not in only_if_on or bool(value) != (name in AS_TORCH)
    }


def own_group(given: Group, defaults: Mapping[str, Any]) -> Group:
    """A group for one optimizer from what a caller has given, who may use that again.

    torch writes an optimizer's settings into the given dictionary, which then decide in the next
    optimizer that gets it. Here nothing is written but a list in the place of an iterator over
    parameters, since that can be read only once.
    """
    listed(given)
    # A plain dictionary: torch.compile reads groups, and takes no other.
    group = {key: copied(value) for key, value in {**defaults, **given}.items()}
    if (group.get("decouple_lr") or group.get("corrected_weight_decay")) and not group.get(
        "max_lr"
    ):
        lr = group["lr"]
        group["max_lr"] = lr.item() if isinstance(lr, Tensor) else lr
    return group


def listed(given: Group) -> Group:
    """The given group, now with a list in the place of an iterator over parameters."""
    if isinstance(given.get("params"), Iterator):
        given["params"] = list(given["params"])
    return given


def copied(value: Any) -> Any:
    """Containers of settings of one's own; tensors stay the caller's, who may write to them."""
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    return list(map(copied, value)) if type(value) is list else value
