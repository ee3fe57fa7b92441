"""Loading a state: whether it fits, and which settings and dtype are kept.

All of it is decided before the optimizer is touched, so that an error leaves it as it was.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.codes import block_count
from adamantine.backends.formats import CODES, OFFSETS, exponents_of
from adamantine.backends.shards import Part, is_dtensor
from adamantine.codecs.blocks import BLOCK
from adamantine.errors import StateError, UsageError
from adamantine.optim.state.matching import (
    Group,
    StateDict,
    common_state,
    pair_groups,
    parts,
)
from adamantine.optim.state.precision import counters_of, is_asked, kept_dtype, treatment
from adamantine.optim.state.preparing import as_counter, convert, decoded_entry, is_beside
from adamantine.optim.state.sharded import local_entry, spread_out
from adamantine.optim.usage.labels import label_at, several
from adamantine.optim.usage.numbers import python_numbers
from adamantine.optim.usage.options import KEPT
from adamantine.optim.usage.param_group import SWITCHES
from adamantine.rules import Family, Rule, Settings
from adamantine.rules.hyperparameters import check_all
from adamantine.rules.paired import MASTER


def fitted(
    state_dict: StateDict,
    groups: list[Group],
    family: Family,
    defaults: Mapping[str, Any],
    strict: bool = True,
    in_all_groups: Collection[str] = (),
) -> StateDict:
    """The attributes ``state`` and ``param_groups`` of an optimizer that has loaded `state_dict`.

    What is `in_all_groups` is also in those that `state_dict` does not have.

    Raises
    ------
    UsageError
        A ``ValueError``, when the groups do not fit, by number, size or names; see
        :func:`.pair_groups` for `strict`.
    HyperparameterError
        When a saved setting is outside its range.
    StateError
        When a parameter's state is not of its shape, incomplete, or no floating-point numbers.
    """
    saved_groups, saved_state = parts(state_dict)
    pairs = pair_groups(groups, saved_groups, strict)
    common = common_state(saved_groups, in_all_groups)
    state: defaultdict[Any, Any] = defaultdict(dict)
    new_groups = []
    for index, (group, (saved, ids)) in enumerate(zip(groups, pairs, strict=True)):
        new = _settings(group, saved) if saved is not None else {**group, **common}
        complete = {**{k: v for k, v in defaults.items() if k not in KEPT}, **new}
        check_all(family.hyperparameters, complete)
        for position, (param, key) in enumerate(zip(group["params"], ids, strict=True)):
            if key in saved_state:
                who = label_at(new, index, position)
                state[param] = _fitted_entry(saved_state[key], param, complete, family, who, groups)
        new_groups.append(new)
    owned = {key for group in saved_groups for key in group["params"]}
    # torch keeps entries of no parameter; subclasses store things there.
    state.update({key: value for key, value in saved_state.items() if key not in owned})
    return {"state": state, "param_groups": new_groups}


def _settings(group: Group, saved: Group) -> Group:
    """What a group holds after loading, as far as either side says it."""
    # No state of torch.optim says these.
    settings: Group = {name: value for name, value in group.items() if name in SWITCHES}
    settings |= copy.deepcopy({k: v for k, v in saved.items() if k not in ("params", *KEPT)})
    kept = ("params", "param_names", *KEPT)
    return settings | {key: group[key] for key in kept if key in group}


def to_torchs_format(found: StateDict, groups: list[Group], family: Family, compact: bool) -> None:
    """Give settings as Python's numbers, and states as numbers, unless it shall be `compact`."""
    found["param_groups"] = [python_numbers(group) for group in found["param_groups"]]
    if compact:
        _refuse_codes_of_parts(groups, found)
        return
    for group, own in zip(found["param_groups"], groups, strict=True):
        for key, param in zip(group["params"], own["params"], strict=True):
            if key in found["state"]:
                rule = family.rule_of(own, param.shape)
                found["state"][key] = decoded_entry(found["state"][key], rule)


def _refuse_codes_of_parts(groups: list[Group], found: StateDict) -> None:
    for index, (group, own) in enumerate(zip(found["param_groups"], groups, strict=True)):
        for position, key in enumerate(group["params"]):
            for name, value in found["state"].get(key, {}).items():
                if is_dtensor(value) and value.dtype == CODES:
                    raise UsageError(
                        f"compact=True does not go with DTensors: the state {name!r} of "
                        f"{label_at(own, index, position)} is in codes, {BLOCK} elements to a "
                        "scale, and whoever loads other shards would mix them up; state_dict() "
                        "decodes them"
                    )


def _fitted_entry(
    entry: Any, param: Tensor, settings: Settings, family: Family, who: str, groups: list[Group]
) -> dict[str, Any]:
    """One parameter's state: checked, on the parameter's device, and in the format it keeps."""
    rule = family.rule_of(settings, param.shape)
    # In a flat state dict of torch.distributed.checkpoint, what it lacks comes as an empty one.
    entry = {k: v for k, v in entry.items() if not (isinstance(v, dict) and not v)}
    needed = [*counters_of(family, rule), *rule.states]
    missing = [name for name in needed if name not in entry]
    if entry and missing:
        raise StateError(
            f"the state of {who} has {several(list(entry))} and lacks {several(missing)}: another "
            f"optimizer saved it, or its group's settings are others than then ({family.name} was "
            "expected)"
        )
    if not is_dtensor(param):
        return _converted(entry, param, settings, family, who, groups)
    # Each process fits the part that it has.
    part, names = Part(param), treatment(family, settings, param, entry, groups).rule.states
    local = local_entry(entry, part, names, who)
    local = _converted(local, part.local, settings, family, who, groups)
    found: dict[str, Any] = {}
    spread_out(found, local, part, names)
    return found


def _converted(
    entry: dict[str, Any],
    param: Tensor,
    settings: Settings,
    family: Family,
    who: str,
    groups: list[Group],
) -> dict[str, Any]:
    treated = treatment(family, settings, param, entry, groups)
    found = {
        k: _fitted_value(k, v, entry, param, treated.rule, family, who) for k, v in entry.items()
    }
    for name, kept in zip(treated.rule.states, treated.formats[1:], strict=True):
        # A master goes into its form when a step is taken: it is read beside the parameter, which
        # may be loaded after it.
        if isinstance(found.get(name), Tensor) and name != MASTER:
            if not is_asked(settings, name) and exponents_of(name) not in found:
                found[name] = found[name].to(kept_dtype(found[name].dtype, param.dtype))
            else:
                convert(found, name, kept, param, treated.rule)
    return found


def _fitted_value(
    name: str, value: Any, entry: Any, param: Tensor, rule: Rule, family: Family, who: str
) -> Any:
    if name in family.counters:
        if isinstance(value, Tensor) and value.numel() != 1:
            raise StateError(
                f"the {name!r} of {who} has shape {tuple(value.shape)}, expected one number"
            )
        return as_counter(value)
    if name not in rule.states:
        return value.to(param.device) if isinstance(value, Tensor) else value
    if value is None:
        return None
    shape = rule.shape_of(name, param.shape)
    if not isinstance(value, Tensor) or value.shape != shape:
        what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise StateError(
            f"the state {name!r} of {who} is {what}, expected shape {tuple(shape)}: it "
            "belongs to another parameter. Parameters are matched in the order they are given in, "
            "or by name where both sides have names (build from model.named_parameters())"
        )
    if is_dtensor(value):
        raise StateError(
            f"the state {name!r} of {who} is a DTensor, and its parameter is not: load by "
            "torch.distributed.checkpoint, or take the state's full_tensor() on all its processes"
        )
    exponents = entry.get(exponents_of(name))
    if exponents is not None and value.dtype == CODES:
        if not is_beside(exponents, param, anywhere=True):
            raise StateError(
                f"the codes of the state {name!r} of {who} have {tuple(exponents.shape)} "
                f"exponents, expected {block_count(param.numel())}, one for each {BLOCK} elements"
            )
    elif not _holds_numbers(value.dtype, param.dtype) and (name, value.dtype) != (MASTER, OFFSETS):
        raise StateError(
            f"the state {name!r} of {who} is {value.dtype}, expected numbers as precise as "
            f"float16 or better for a parameter of {param.dtype}"
        )
    return value.to(param.device)


def _holds_numbers(saved: torch.dtype, own: torch.dtype) -> bool:
    """Whether a state can be read as it is: 8-bit ones without exponents are somebody else's."""
    if saved.is_complex:
        return own.is_complex
    return saved.is_floating_point and torch.finfo(saved).bits >= 16
