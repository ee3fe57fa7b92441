"""Compiled code sees every object that was put in another's place."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.backends.cpu.probe.identity import Identities

Containers = tuple[dict[Any, Any], list[Any]]

CHANGES: dict[str, Callable[[dict[Any, Any], list[Any]], object]] = {
    "value replaced by an equal one": lambda d, _: d.update(a=float("1.5")),
    "key added": lambda d, _: d.update(c=None),
    "key removed": lambda d, _: d.pop("b"),
    "key replaced": lambda d, _: (d.pop("b"), d.update(e="two")),
    "order changed": lambda d, _: d.update(a=d.pop("a")),
    "emptied": lambda d, _: d.clear(),
    "element replaced": lambda _, x: x.__setitem__(1, object()),
    "element added": lambda _, x: x.append(None),
    "element removed": lambda _, x: x.pop(),
    "elements swapped": lambda _, x: x.reverse(),
}


def containers() -> Containers:
    return {"a": float("1.5"), "b": "two"}, [object(), 7, None]


@pytest.mark.parametrize("kind", [dict, lambda d: defaultdict(list, d)], ids=["dict", "default"])
def test_every_change_is_seen(kind: Callable[[dict[Any, Any]], dict[Any, Any]]) -> None:
    for name, change in CHANGES.items():
        found, listed = containers()
        found = kind(found)
        identities = Identities([{}, found, {1: 2}], [[], listed, [3]])
        assert identities.hold()
        change(found, listed)
        assert not identities.hold(), name


def test_what_was_put_back_holds_and_nothing_is_freed_meanwhile() -> None:
    """An object that is gone may be followed by another one at its address."""
    held = [object() for _ in range(50)]
    identities = Identities([], [held])
    kept = held[:]
    held[:] = [object() for _ in range(50)]
    gc.collect()
    assert not identities.hold()
    held[:] = kept
    assert identities.hold()


def test_no_container_at_all() -> None:
    assert Identities([], []).hold()


def twins() -> list[tuple[nn.Parameter, Any]]:
    found = []
    for module in (adamantine, torch.optim):
        param = nn.Parameter(torch.ones(5))
        optimizer = module.SGD([param], lr=0.5, momentum=0.9)
        param.grad = torch.ones(5)
        optimizer.step()
        found.append((param, optimizer))
    return found


@pytest.mark.parametrize("kept", [list, tuple])
@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
def test_lists_of_parameters_are_replaced(kept: type, rate: Any) -> None:
    ends = []
    for module in (adamantine, torch.optim):
        params = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
        groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 2.0}]
        optimizer = module.SGD(groups, lr=rate)
        for param in params:
            param.grad = torch.ones(2)
        optimizer.step()
        first, second = optimizer.param_groups
        first["params"], second["params"] = second["params"], first["params"]
        optimizer.step()
        first["params"] = kept([params[2]])  # as many as before
        optimizer.step()
        optimizer.step()
        second["params"] = list(second["params"])
        optimizer.step()
        second["params"][0] = params[1]
        optimizer.step()
        ends.append([param.detach() for param in params])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("what", ["state", "param_groups", "group", "setting"])
def test_replaced_containers_of_an_optimizer_are_what_counts(what: str) -> None:
    ends = []
    for param, optimizer in twins():
        if what == "state":
            optimizer.state = defaultdict(dict)
        elif what == "param_groups":
            optimizer.param_groups = [{**optimizer.param_groups[0], "lr": 0.1}]
        elif what == "group":
            optimizer.param_groups[0] = {**optimizer.param_groups[0], "momentum": 0.0}
        else:
            optimizer.param_groups[0]["nesterov"] = True
        for _ in range(2):
            optimizer.step()
        ends.append(param.detach())
    torch.testing.assert_close(*ends)


def test_settings_that_change_within_their_object_are_read_in_every_step() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        param, rate = nn.Parameter(torch.ones(5)), torch.tensor(0.5)
        optimizer = module.Adam([param], lr=rate)
        param.grad = torch.ones(5)
        for _ in range(3):
            optimizer.step()
            rate.mul_(0.5)
        ends.append(param.detach())
    torch.testing.assert_close(*ends)
