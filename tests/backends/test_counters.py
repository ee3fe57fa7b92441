"""Counters beside the step: NAdam's product of momenta, in the kernels and in the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import adamantine
from adamantine.backends.cpu.probe import compiled_probe
from contract import Optimizer, assert_same_state, clones, parameters, train

State = dict[str, Any]


@pytest.fixture(params=["dlpack", "python", "reference"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.setattr(compiled_probe, "exporter", lambda: 0)
    return "reference" if request.param == "reference" else "cpu"


def halve(state: State) -> None:
    state["mu_product"] *= 0.5


def replace(state: State) -> None:
    state["mu_product"] = torch.tensor(0.125)


def forget(state: State) -> None:
    state.clear()


@pytest.mark.parametrize("change", [halve, replace, forget])
def test_one_tensor_apart_from_the_others(backend: str, change: Callable[[State], None]) -> None:
    """Each distinct set of counters is a row of scalars of its own, and is written back."""
    start = parameters(10, (3, 4), 20)
    ends = []
    for cls, settings in ((adamantine.NAdam, {"backend": backend}), (torch.optim.NAdam, {})):
        params = clones(start)
        optimizer: Optimizer = cls(params, lr=0.1, **settings)
        train(optimizer, params, 3)
        change(optimizer.state[params[1]])
        train(optimizer, params, 3)
        params[0].grad = None
        optimizer.step()
        train(optimizer, params, 1)
        ends.append((params, optimizer))
    (ours, a), (theirs, b) = ends
    torch.testing.assert_close(ours, theirs)
    assert_same_state(a, b, rtol=1e-5)
    assert len({float(s["mu_product"]) for s in a.state.values()}) == 3


def test_numbers_from_old_checkpoints_become_tensors(backend: str) -> None:
    """``step`` and ``mu_product`` were Python numbers in older versions of torch."""
    params, others = parameters(10), parameters(10)
    ours = adamantine.NAdam(params, backend=backend)
    theirs = torch.optim.NAdam(others)
    train(theirs, others, 3)
    params[0].data.copy_(others[0].data)
    saved = theirs.state_dict()
    for state in saved["state"].values():
        state["step"], state["mu_product"] = 3, float(state["mu_product"])
    for optimizer in (ours, theirs):
        optimizer.load_state_dict(copy.deepcopy(saved))  # loading shares tensors
    train(ours, params, 3)
    train(theirs, others, 3)
    torch.testing.assert_close(params, others)
    assert_same_state(ours, theirs)
