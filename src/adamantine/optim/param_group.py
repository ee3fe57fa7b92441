"""Parameter groups as optimizers keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adamantine.optim.options import OURS

Group = dict[str, Any]


class ParamGroup(Group):
    """A group with settings that torch's classes do not have.

    They are where any other setting is, in ``keys()``, ``items()`` and the state dict. Only
    iteration over the group itself leaves them out: torch's tools iterate over a group and demand
    each key of the checkpoint that they load (``flatten_optimizer_state_dict`` of
    ``torch.distributed.checkpoint``), and one of ``torch.optim`` has no such keys.
    """

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.keys() if key not in OURS)


def as_group(settings: Group) -> Group:
    """`settings`, as a :class:`ParamGroup` where one of them is ours alone."""
    return ParamGroup(settings) if any(name in settings for name in OURS) else settings


def own_group(given: Group, defaults: Mapping[str, Any]) -> Group:
    """A group for one optimizer from what a caller has given, who may use that again.

    torch writes an optimizer's settings into the given dictionary, which then decide in the next
    optimizer that gets it. Here nothing is written but a list in the place of an iterator over
    parameters, since that can be read only once.
    """
    if isinstance(given.get("params"), Iterator):
        given["params"] = list(given["params"])
    complete = {**given, **{k: v for k, v in defaults.items() if k not in given}}
    return as_group(copied(complete))


def copied(value: Any) -> Any:
    """Containers of settings of one's own; tensors stay the caller's, who may write to them."""
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    return list(map(copied, value)) if type(value) is list else value
