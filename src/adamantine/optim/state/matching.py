"""Whose is what in a state dict: by name where both sides have names, else by position."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

import torch

from adamantine.errors import UsageError
from adamantine.optim.usage.labels import several

Group = dict[str, Any]
StateDict = dict[str, Any]
Pair = tuple[Group | None, list[Any]]
"""The saved group whose settings a group takes, if any, and the ids of its parameters' states."""

NEW = object()
"""In the place of an id: that of a parameter which the state dict does not have."""

_RESERVED = "_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module|_forward_module"
_WRAPPERS = (
    re.compile(rf"(?<![^.])(module|{_RESERVED})\."),
    # A model may have a part that is called `module`, and another one without.
    re.compile(rf"^(module\.)+|(?<![^.])({_RESERVED})\."),
)
"""What DataParallel, DistributedDataParallel, FSDP, torch.compile, activation checkpointing and
Lightning put into parameters' names."""


def parts(state_dict: StateDict) -> tuple[list[Group], dict[Any, Any]]:
    """The groups and the states of a state dict; raises a ``UsageError`` for anything else."""
    if not {"state", "param_groups"} <= state_dict.keys():
        keys = ", ".join(map(repr, state_dict))
        raise UsageError(
            f"expected an optimizer's state dict with 'state' and 'param_groups', got one with "
            f"{keys or 'nothing'}; of a whole checkpoint, pass the optimizer's entry"
        )
    return state_dict["param_groups"], state_dict["state"]


def pair_groups(groups: list[Group], saved: list[Group], strict: bool) -> list[Pair]:
    """For each group what it takes out of the `saved` ones.

    Raises
    ------
    UsageError
        A ``ValueError``, when they do not fit by number, size or names. Where not `strict`, names
        of one side alone are no error.
    """
    if not (_has_names(groups) and _has_names(saved)):
        return _by_position(groups, saved)
    own_names, saved_names = _comparable_names(groups, saved)
    if own_names == saved_names:
        return _by_position(groups, saved)
    homes = _homes(own_names, saved_names, saved, strict)
    ours = {name for names in own_names for name in names}
    pairs: list[Pair] = []
    for index, names in enumerate(own_names):
        known = [name for name in names if name in homes]
        # A group of nothing can only be the one in its place.
        sources = {homes[name][0] for name in known} or (set() if names else {index})
        if not sources:
            pairs.append((None, [NEW] * len(names)))
            continue
        source = sources.pop()
        if (
            sources
            or source >= len(saved)
            or len(known) != sum(name in ours for name in saved_names[source])
        ):
            raise UsageError(
                f"the state dict has the parameters of group {index} in other groups, and which of "
                "their settings are meant is unclear; build the groups as they were when it was "
                f"saved, or load adamantine.regroup(state_dict, optimizer{_switch(strict)}), which "
                "keeps the settings of the new groups"
            )
        ids = [homes[name][1] if name in homes else NEW for name in names]
        pairs.append((saved[source], ids))
    return pairs


def _switch(strict: bool) -> str:
    return "" if strict else ", strict=False"


def regroup(
    state_dict: StateDict, optimizer: torch.optim.Optimizer, *, strict: bool = True
) -> StateDict:
    """`state_dict` with its states moved, by name, into the groups and settings of `optimizer`.

    Use it to load a checkpoint of the same parameters in different groups. The states (moments,
    step counts) follow the names of their parameters. Learning rates, decays and all other settings
    are those that `optimizer` has now, but for what is state and no setting there, such as
    Prodigy's estimate.

    Parameters
    ----------
    state_dict
        A state dict with names, from an optimizer that was built from ``named_parameters()``,
        :func:`adamantine.groups` or :func:`adamantine.no_decay`. It is not changed.
    optimizer
        The optimizer that will load the result; it must also be built from named parameters.
    strict
        False if different layers are frozen now: parameters that are missing from `state_dict`
        start fresh, and states of parameters that `optimizer` does not have are left out.

    Returns
    -------
    dict
        For ``optimizer.load_state_dict``.

    Raises
    ------
    UsageError
        A ``ValueError``: if one side has no names, or the names differ.

    Notes
    -----
    Tensors are not copied.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Linear(4, 2)
    >>> before = adamantine.AdamW(model.named_parameters(), lr=1e-3).state_dict()
    >>> optimizer = adamantine.AdamW(adamantine.no_decay(model), lr=1e-4)
    >>> optimizer.load_state_dict(adamantine.regroup(before, optimizer))
    """
    saved_groups, saved_state = parts(state_dict)
    own = optimizer.state_dict()["param_groups"]
    for whose, some in (("the state dict", saved_groups), ("the optimizer", own)):
        if not _has_names(some):
            raise UsageError(
                f"{whose} has no parameter names, so nothing can be matched; build optimizers from "
                "model.named_parameters() to keep names in their states"
            )
    own_names, saved_names = _comparable_names(own, saved_groups)
    homes = _homes(own_names, saved_names, saved_groups, strict)
    keys = {
        key: homes[name][1]
        for group, names in zip(own, own_names, strict=True)
        for key, name in zip(group["params"], names, strict=True)
        if name in homes
    }
    state = {key: saved_state[saved] for key, saved in keys.items() if saved in saved_state}
    common = common_state(saved_groups, getattr(optimizer, "in_all_groups", ()))
    return {"state": state, "param_groups": [{**group, **common} for group in own]}


def common_state(saved: list[Group], names: Collection[str]) -> Group:
    """Of the `saved` groups, what is state and the same in all of them, which has these `names`."""
    return {name: saved[0][name] for name in names if name in saved[0]} if saved else {}


def _by_position(groups: list[Group], saved: list[Group]) -> list[Pair]:
    problem = None
    # The first words are torch's.
    if len(groups) != len(saved):
        problem = (
            "loaded state dict has a different number of parameter groups: "
            f"{len(saved)}, and the optimizer has {len(groups)}"
        )
    else:
        for index, (group, other) in enumerate(zip(groups, saved, strict=True)):
            if len(group["params"]) != len(other["params"]):
                problem = (
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    f"optimizer's group: group {index} has {len(other['params'])} parameters in "
                    f"the state dict and {len(group['params'])} in the optimizer"
                )
                break
    if problem is not None:
        raise UsageError(f"{problem}. {_way_by_names(groups, saved)}")
    return [(other, other["params"]) for other in saved]


def _way_by_names(groups: list[Group], saved: list[Group]) -> str:
    """How new parameters can start fresh, where one side has no names."""
    needs = []
    if not _has_names(groups):
        needs.append("build the optimizer from model.named_parameters()")
    if not _has_names(saved):
        needs.append(
            "give each group of the state dict its 'param_names', in the order of its parameters"
        )
    return (
        f"strict=False, which lets new parameters start fresh, goes by names: {' and '.join(needs)}"
    )


def _has_names(groups: list[Group]) -> bool:
    return bool(groups) and all("param_names" in group for group in groups)


def _comparable_names(
    groups: list[Group], saved: list[Group]
) -> tuple[list[list[str]], list[list[str]]]:
    """The names of both sides by group; without what wrappers add, if they differ with it."""
    own, other = _names("optimizer", groups), _names("state dict", saved)
    if _together(own) == _together(other):
        return own, other
    for wrapper in _WRAPPERS:
        shorter = [[[wrapper.sub("", n) for n in ns] for ns in some] for some in (own, other)]
        # Two that were told apart by a wrapper's name alone have to stay apart.
        if all(
            len(_together(few)) == len(_together(all_))
            for few, all_ in zip(shorter, (own, other), strict=True)
        ):
            return shorter[0], shorter[1]
    return own, other


def _names(side: str, groups: list[Group]) -> list[list[str]]:
    for index, group in enumerate(groups):
        count, names = len(group["params"]), len(group["param_names"])
        if count != names:
            raise UsageError(
                f"group {index} of the {side} has {count} parameters and {names} names; whoever "
                "changes 'params' there has to change 'param_names' as well"
            )
    return [list(group["param_names"]) for group in groups]


def _together(names: list[list[str]]) -> set[str]:
    return {name for some in names for name in some}


def _homes(
    own: list[list[str]], saved: list[list[str]], saved_groups: list[Group], strict: bool
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
    ours, theirs = _together(own), _together(saved)
    if ours != theirs and (strict or not ours & theirs):
        raise UsageError(_other_names(ours, theirs))
    return {
        name: (index, key)
        for index, (names, group) in enumerate(zip(saved, saved_groups, strict=True))
        for name, key in zip(names, group["params"], strict=True)
    }


def _other_names(ours: set[str], theirs: set[str]) -> str:
    new, gone = (sorted(map(repr, names)) for names in (ours - theirs, theirs - ours))
    found = [f"it lacks {several(new)}"] if new else []
    found += [f"the optimizer does not have {several(gone)}"] if gone else []
    ways = []
    if len(new) == len(gone):
        ways.append(
            "if they are the same parameters in the same order, remove 'param_names' from the "
            "groups of the state dict to load by position"
        )
    if ours & theirs:
        fates = ["lets what it lacks start fresh"] if new else []
        fates += ["leaves out what the optimizer does not have"] if gone else []
        ways.append(f"strict=False {' and '.join(fates)}")
    return (
        f"the names in the state dict are not the optimizer's: {' and '.join(found)}; "
        f"{'; '.join(ways) or 'it is the state of another model'}"
    )
