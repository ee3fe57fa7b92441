"""Loading a state: whose is what, whether it fits, and which dtype it keeps.

All of it is decided before the optimizer is touched, so that an error leaves it as it was.
"""

from __future__ import annotations

import copy
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.codes import block_count
from adamantine.backends.formats import CODES, exponents_of
from adamantine.codecs.blocks import BLOCK
from adamantine.errors import StateError, UsageError
from adamantine.optim.labels import label_at, several
from adamantine.optim.options import OF_GROUPS
from adamantine.optim.precision import is_asked, kept_dtype, treatment
from adamantine.optim.state import as_counter, convert, decoded_entry, is_beside
from adamantine.rules import Family, Rule, Settings
from adamantine.rules.hyperparameters import check_all

Group = dict[str, Any]
StateDict = dict[str, Any]

OWN = ("sparse", *OF_GROUPS)
"""Settings of a group that it keeps, whatever is loaded."""

_WRAPPERS = re.compile(r"^(module\.)+|\b_orig_mod\.")
"""What DataParallel, DistributedDataParallel and torch.compile put into parameters' names."""


def fitted(
    state_dict: StateDict, groups: list[Group], family: Family, defaults: Mapping[str, Any]
) -> StateDict:
    """The attributes ``state`` and ``param_groups`` of an optimizer that has loaded `state_dict`.

    Raises
    ------
    UsageError
        A ``ValueError``, when the groups do not fit, by number, size or names.
    HyperparameterError
        When a saved setting is outside its range.
    StateError
        When a parameter's state is not of its shape, incomplete, or no floating-point numbers.
    """
    saved_groups, saved_state = _parts(state_dict)
    pairs = _pair_groups(groups, saved_groups)
    state: defaultdict[Any, Any] = defaultdict(dict)
    new_groups = []
    for index, (group, (saved, ids)) in enumerate(zip(groups, pairs, strict=True)):
        settings = copy.deepcopy({k: v for k, v in saved.items() if k not in ("params", *OWN)})
        new = {**settings, "params": group["params"]}
        new |= {key: group[key] for key in OWN if key in group}
        if "param_names" in group:
            new["param_names"] = group["param_names"]
        complete = {**{k: v for k, v in defaults.items() if k not in OWN}, **new}
        check_all(family.hyperparameters, complete)
        for position, (param, key) in enumerate(zip(group["params"], ids, strict=True)):
            if key in saved_state:
                who = label_at(new, index, position)
                state[param] = _fitted_entry(saved_state[key], param, complete, family, who)
        new_groups.append(new)
    owned = {key for _, ids in pairs for key in ids}
    # torch keeps entries of no parameter; subclasses store things there.
    state.update({key: value for key, value in saved_state.items() if key not in owned})
    return {"state": state, "param_groups": new_groups}


def to_torchs_format(found: StateDict, groups: list[Group], family: Family, compact: bool) -> None:
    """Leave what torch's optimizers have in a state dict; where it is `compact`, the codes, too."""
    for group, own in zip(found["param_groups"], groups, strict=True):
        for name in OWN:
            group.pop(name, None)
        if not compact:
            rule = family.select(own)
            for key in group["params"]:
                if key in found["state"]:
                    found["state"][key] = decoded_entry(found["state"][key], rule)


def regroup(state_dict: StateDict, optimizer: torch.optim.Optimizer) -> StateDict:
    """`state_dict` with its states moved, by name, into the groups and settings of `optimizer`.

    For a checkpoint of the same parameters in other groups: everything that was learnt about a
    parameter (moments, step counts) goes with its name, and learning rates, decays and all other
    settings are those that `optimizer` has now.

    Parameters
    ----------
    state_dict
        A state dict with names: of an optimizer that was built from ``named_parameters()``,
        :func:`adamantine.groups` or :func:`adamantine.no_decay`. It is not changed.
    optimizer
        The optimizer that is going to load the result; built from named parameters, too.

    Returns
    -------
    dict
        For ``optimizer.load_state_dict``.

    Raises
    ------
    UsageError
        A ``ValueError``: when one side has no names, or the names differ.

    Notes
    -----
    Tensors are handed on, not copied.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Linear(4, 2)
    >>> before = adamantine.AdamW(model.named_parameters(), lr=1e-3).state_dict()
    >>> optimizer = adamantine.AdamW(adamantine.no_decay(model), lr=1e-4)
    >>> optimizer.load_state_dict(adamantine.regroup(before, optimizer))
    """
    saved_groups, saved_state = _parts(state_dict)
    own = optimizer.state_dict()["param_groups"]
    for whose, some in (("the state dict", saved_groups), ("the optimizer", own)):
        if not _has_names(some):
            raise UsageError(
                f"{whose} has no parameter names, so nothing can be matched; build optimizers from "
                "model.named_parameters() to keep names in their states"
            )
    own_names, saved_names = _comparable_names(own, saved_groups)
    homes = _homes(own_names, saved_names, saved_groups)
    keys = {
        key: homes[name][1]
        for group, names in zip(own, own_names, strict=True)
        for key, name in zip(group["params"], names, strict=True)
    }
    state = {key: saved_state[saved] for key, saved in keys.items() if saved in saved_state}
    return {"state": state, "param_groups": own}


def _parts(state_dict: StateDict) -> tuple[list[Group], dict[Any, Any]]:
    if not {"state", "param_groups"} <= state_dict.keys():
        keys = ", ".join(map(repr, state_dict))
        raise UsageError(
            f"expected an optimizer's state dict with 'state' and 'param_groups', got one with "
            f"{keys or 'nothing'}; of a whole checkpoint, pass the optimizer's entry"
        )
    return state_dict["param_groups"], state_dict["state"]


def _pair_groups(groups: list[Group], saved: list[Group]) -> list[tuple[Group, list[Any]]]:
    """For each group the saved one whose settings it takes, and the ids of its states there."""
    if not (_has_names(groups) and _has_names(saved)):
        return _by_position(groups, saved)
    own_names, saved_names = _comparable_names(groups, saved)
    if own_names == saved_names:
        return _by_position(groups, saved)
    homes = _homes(own_names, saved_names, saved)
    pairs = []
    for index, names in enumerate(own_names):
        # A group of nothing can only be the one in its place.
        sources = {homes[name][0] for name in names} or {index}
        source = sources.pop()
        if sources or source >= len(saved) or len(saved_names[source]) != len(names):
            raise UsageError(
                f"the state dict has the parameters of group {index} in other groups, and which of "
                "their settings are meant is unclear; build the groups as they were when it was "
                "saved, or load adamantine.regroup(state_dict, optimizer), which keeps the "
                "settings of the new groups"
            )
        pairs.append((saved[source], [homes[name][1] for name in names]))
    return pairs


def _by_position(groups: list[Group], saved: list[Group]) -> list[tuple[Group, list[Any]]]:
    # The first words are torch's.
    if len(groups) != len(saved):
        raise UsageError(
            "loaded state dict has a different number of parameter groups: "
            f"{len(saved)}, and the optimizer has {len(groups)}"
        )
    for index, (group, other) in enumerate(zip(groups, saved, strict=True)):
        if len(group["params"]) != len(other["params"]):
            raise UsageError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                f"optimizer's group: group {index} has {len(other['params'])} parameters in the "
                f"state dict and {len(group['params'])} in the optimizer"
            )
    return [(other, other["params"]) for other in saved]


def _has_names(groups: list[Group]) -> bool:
    return bool(groups) and all("param_names" in group for group in groups)


def _comparable_names(
    groups: list[Group], saved: list[Group]
) -> tuple[list[list[str]], list[list[str]]]:
    """The names of both sides by group; without what wrappers add, if they differ with it."""
    own, other = ([list(g["param_names"]) for g in some] for some in (groups, saved))
    if {n for names in own for n in names} != {n for names in other for n in names}:
        own, other = ([[_WRAPPERS.sub("", n) for n in ns] for ns in some] for some in (own, other))
    return own, other


def _homes(
    own: list[list[str]], saved: list[list[str]], saved_groups: list[Group]
) -> dict[str, tuple[int, Any]]:
    """For each name the saved group it is in, and the id of its state."""
    for side, some in (("optimizer", own), ("state dict", saved)):
        twice = [n for n, count in Counter(n for ns in some for n in ns).items() if count > 1]
        if twice:
            raise UsageError(
                f"the {side} has two parameters called {twice[0]!r}, so names cannot tell them "
                "apart; give each its own name, or remove 'param_names' from the groups of the "
                "state dict to load by position"
            )
    ours, theirs = ({n for names in some for n in names} for some in (own, saved))
    if ours != theirs:
        lacking, unknown = (sorted(map(repr, d)) for d in (ours - theirs, theirs - ours))
        raise UsageError(
            "the names in the state dict are not the optimizer's:"
            + (f" it lacks {several(lacking)}" if lacking else "")
            + (" and" if lacking and unknown else "")
            + (f" the optimizer does not have {several(unknown)}" if unknown else "")
            + "; if they are the same parameters in the same order, remove 'param_names' from the "
            "groups of the state dict to load by position"
        )
    return {
        name: (index, key)
        for index, (names, group) in enumerate(zip(saved, saved_groups, strict=True))
        for name, key in zip(names, group["params"], strict=True)
    }


def _fitted_entry(
    entry: Any, param: Tensor, settings: Settings, family: Family, who: str
) -> dict[str, Any]:
    """One parameter's state: checked, on the parameter's device, and in the format it keeps."""
    rule = family.select(settings)
    needed = [*family.counters, *rule.states]
    missing = [name for name in needed if name not in entry]
    if entry and missing:
        raise StateError(
            f"the state of {who} has {several(list(entry))} and lacks {several(missing)}: another "
            f"optimizer saved it, or its group's settings are others than then ({family.name} was "
            "expected)"
        )
    treated = treatment(family, settings, param, entry)
    found = {
        k: _fitted_value(k, v, entry, param, treated.rule, family, who) for k, v in entry.items()
    }
    for name, kept in zip(treated.rule.states, treated.formats[1:], strict=True):
        if isinstance(found.get(name), Tensor):
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
    if not isinstance(value, Tensor) or value.shape != param.shape:
        what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise StateError(
            f"the state {name!r} of {who} is {what}, expected shape {tuple(param.shape)}: it "
            "belongs to another parameter. Parameters are matched in the order they are given in, "
            "or by name where both sides have names (build from model.named_parameters())"
        )
    exponents = entry.get(exponents_of(name))
    if exponents is not None and value.dtype == CODES:
        if not is_beside(exponents, param, anywhere=True):
            raise StateError(
                f"the codes of the state {name!r} of {who} have {tuple(exponents.shape)} "
                f"exponents, expected {block_count(param.numel())}, one for each {BLOCK} elements"
            )
    elif not _holds_numbers(value.dtype, param.dtype):
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
