"""The state of a DTensor: DTensors of its placements, of which an update takes the local parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.formats import CODES
from adamantine.backends.shards import Part, is_dtensor, spread
from adamantine.errors import StateError
from adamantine.optim.state.precision import Treatment
from adamantine.optim.state.preparing import prepare_state
from adamantine.optim.usage.labels import label
from adamantine.rules import Family, Settings

State = dict[str, Any]


def prepare_part(
    family: Family,
    treatment: Treatment,
    part: Part,
    state: State,
    settings: Settings,
    groups: Sequence[dict[str, Any]],
    counts_on: torch.device | None = None,
) -> tuple[bool, State]:
    """What :func:`.prepare_state` does, for a parameter that is a DTensor.

    Returns
    -------
    tuple
        Whether the coming step is the state's first, and the state of this process's part: its
        tensors are in the same memory as those of `state`, its counters are the same.
    """
    names = treatment.rule.states
    for name in names:
        value = state.get(name)
        if value is not None and not is_dtensor(value):
            raise StateError(
                f"the state {name!r} of {label(groups, part.whole)} is an ordinary tensor, and its "
                f"parameter {spread(part.whole)}: build the optimizer after fully_shard(...) or "
                "parallelize_module(...), or load the state with load_state_dict"
            )
    local = local_entry(state, part, names, label(groups, part.whole))
    given = (local, settings, groups, part.whole, counts_on)
    fresh = prepare_state(family, treatment, part.local, *given)
    spread_out(state, local, part, names)
    return fresh, local


def local_entry(entry: Mapping[str, Any], part: Part, names: Sequence[str], who: str) -> State:
    """A parameter's state as this process has it: of DTensors, and of whole tensors, its part."""
    return {
        key: _local(key, value, part, who) if key in names else value
        for key, value in entry.items()
    }


def _local(name: str, value: Any, part: Part, who: str) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.shape != part.whole.shape:
        raise StateError(
            f"the state {name!r} of {who} is of shape {tuple(value.shape)}, expected shape "
            f"{tuple(part.whole.shape)}: it belongs to another parameter"
        )
    if not is_dtensor(value):
        if value.dtype == CODES:
            raise StateError(
                f"the state {name!r} of {who} is in the codes of a whole tensor, whose blocks this "
                "process has no more than a part of: save with state_dict(), not compact=True"
            )
        return part.cut(value)
    given = Part(value)
    if part.fits(given):
        return given.local
    if value.dtype == CODES or given.mesh != part.mesh:
        raise StateError(
            f"the state {name!r} of {who} is {spread(value)}, and its parameter "
            f"{spread(part.whole)}, on {given.mesh} and {part.mesh}: save with state_dict() and "
            "load by torch.distributed.checkpoint, which brings tensors into new shards"
        )
    return Part(value.redistribute(placements=part.placements)).local  # type: ignore[attr-defined]


def spread_out(state: State, local: State, part: Part, names: Sequence[str]) -> None:
    """Let `state` have what `local` has: states as DTensors, which share their memory."""
    for gone in state.keys() - local.keys():
        del state[gone]
    for key, value in local.items():
        if key in names and isinstance(value, Tensor):
            held = state.get(key)
            if not (is_dtensor(held) and Part(held).local is value and part.fits(Part(held))):
                state[key] = part.like(value)
                local[key] = Part(state[key]).local
        else:
            state[key] = value
