"""What every row of ``cases.py`` keeps between steps: torch's ``state_dict``, and copies."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch

from adamantine.optim import RuleOptimizer
from cases import Case
from contract import about, assert_same_state, clones, every_case, parameters, train


@every_case
def test_missing_gradients_leave_parameters_alone(case: Case) -> None:
    start = parameters(10, 20, 30)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        optimizer = cls(params, **case.settings)
        for step in range(6):
            for index, param in enumerate(params):
                present = step % (index + 1) == index
                param.grad = torch.full_like(param, 0.1 * (step + 1)) if present else None
            optimizer.step()
        results.append((params, optimizer))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert_same_state(results[0][1], results[1][1])


@every_case
@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_state_dict_both_ways(case: Case, direction: str) -> None:
    first, second = (case.ours, case.theirs)[:: 1 if direction == "to torch" else -1]
    params = parameters(65, (4, 5))
    optimizer = first(params, **case.settings)
    train(optimizer, params, 10)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    copies = clones(params)
    other = second(copies, **case.settings)
    other.load_state_dict(torch.load(stream, weights_only=True))
    train(optimizer, params, 20, seed=7)
    train(other, copies, 20, seed=7)
    torch.testing.assert_close(params, copies, rtol=1e-4, atol=1e-6)
    assert_same_state(optimizer, other)


@every_case
def test_state_dict_has_torchs_keys(case: Case) -> None:
    dicts = []
    for cls in (case.ours, case.theirs):
        params = parameters(6)
        optimizer = cls(params, **case.settings)
        train(optimizer, params, 2)
        dicts.append(optimizer.state_dict())
    ours, theirs = dicts
    assert ours["param_groups"] == list(map(about, theirs["param_groups"]))
    assert {k: list(v) for k, v in ours["state"].items()} == {
        k: list(v) for k, v in theirs["state"].items()
    }


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_starts_with_torchs_state(case: Case, dtype: torch.dtype) -> None:
    """Empty for nearly all; Adagrad has its sums from the start, and so in its first checkpoint."""
    params = parameters(6, (2, 3), dtype=dtype)
    ours, theirs = (cls(params, **case.settings) for cls in (case.ours, case.theirs))
    assert_same_state(ours, theirs)
    assert list(ours.state) == list(theirs.state)


@every_case
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_continue_alike(
    case: Case, copier: Callable[[RuleOptimizer], RuleOptimizer]
) -> None:
    params = parameters(65, 3)
    optimizer = case.ours(params, **case.settings)
    train(optimizer, params, 5)
    other = copier(optimizer)
    others = other.param_groups[0]["params"]
    train(optimizer, params, 5, seed=2)
    train(other, others, 5, seed=2)
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
    assert all(p.data_ptr() != q.data_ptr() for p, q in zip(params, others, strict=True))
    assert other.backend == optimizer.backend
