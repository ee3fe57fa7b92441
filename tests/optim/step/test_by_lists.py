"""Steps by lists: who is in which list, how many calls that takes, and what shares memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import adamantine
from adamantine.errors import BackendError
from adamantine.optim.matrices import MatrixOptimizer
from adamantine.optim.step.updates import by_lists
from cases import CASES, Case
from contract import assert_same_state, clones, every_case, every_case_one_by_one, parameters, train

SHAPES = (5, (3, 4), (), 0, (2, 3))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each of torch's functions of lists is called."""
    calls: Counter[str] = Counter()

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return called

    with monkeypatch.context() as patches:
        for name in dir(torch):
            if name.startswith("_foreach_"):
                patches.setattr(torch, name, count(name, getattr(torch, name)))
        yield calls


def calls_of_a_step(
    cls: type[torch.optim.Optimizer],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    before: int = 7,
) -> int:
    params = parameters(*SHAPES)
    optimizer = cls(params, **settings)
    train(optimizer, params, before)
    with counted(monkeypatch) as calls:
        optimizer.step()
    return calls.total()


OF_LISTS = [
    case
    for case in CASES
    if not (case.settings.get("cautious") or issubclass(case.ours, MatrixOptimizer))
]


@pytest.mark.parametrize("case", OF_LISTS, ids=str)
def test_no_more_calls_than_torchs(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = calls_of_a_step(case.ours, {**case.settings, "backend": "lists"}, monkeypatch)
    # Torch does most of Rprop tensor by tensor.
    if case.theirs.__module__.startswith("torch.") and case.ours is not adamantine.Rprop:
        settings = {**case.settings, "foreach": True}
        assert 0 < ours <= 1.5 * calls_of_a_step(case.theirs, settings, monkeypatch)
    else:
        assert 0 < ours <= 25


def test_calls_do_not_grow_with_groups_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters(*SHAPES)
    groups = [{"params": [p], "lr": 1e-3 if p.dim() else 1e-2} for p in params]
    optimizer = adamantine.Adam(groups, backend="lists")
    train(optimizer, params, 2)
    with counted(monkeypatch) as calls:
        optimizer.step()
    assert calls["_foreach_lerp_"] == 2
    assert calls.total() == 15  # twice seven, and the steps are counted


@every_case
def test_is_the_references(case: Case) -> None:
    """With gradients that come late, are absent, or come for one group alone."""
    start = parameters(*SHAPES)
    runs = []
    for backend in ("lists", "reference"):
        params = clones(start)
        groups: list[Any] = [{"params": params[:3]}, {"params": params[3:]}]
        if case.other_lr:
            groups[1]["lr"] = 1e-4
        optimizer = case.ours(groups, **case.settings, backend=backend)
        for step in range(6):
            generator = torch.Generator().manual_seed(step)
            for index, param in enumerate(params):
                grad = torch.randn(param.shape, generator=generator)
                param.grad = None if (step + index) % 3 == 0 else grad
            optimizer.step()
        runs.append((params, optimizer))
    (ours, a), (theirs, b) = runs
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)
    assert_same_state(a, b)


def test_who_goes_there_by_itself() -> None:
    params = [
        torch.randn(6, 6)[::2, :3].requires_grad_(),
        torch.randn(3, dtype=torch.complex64).conj().requires_grad_(),
        torch.randn(4).requires_grad_(),
        torch.randn(8)[1::2].requires_grad_(),
    ]
    optimizer = adamantine.AdamW(params)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    plan = optimizer._plan
    assert plan is not None
    assert [len(table.wholes) for table in plan._tables] == [1]
    assert [m in plan._by_torch._lists for m in plan._others] == [True, False, True]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"differentiable": True}, "in a group with differentiable=True"),
        ({"state_dtype": "int8"}, "kept in codes or rounded by random numbers"),
        ({"state_dtype": "bfloat16"}, "kept in codes or rounded by random numbers"),
    ],
)
def test_what_lists_refuse(settings: dict[str, Any], reason: str) -> None:
    (param,) = parameters(5)
    optimizer = adamantine.Adam([param], **settings, backend="lists")
    param.grad = torch.ones(5)
    before = param.detach().clone()
    with pytest.raises(BackendError, match=f"{reason}.*use backend='auto'"):
        optimizer.step()
    assert torch.equal(param.detach(), before)


def test_lists_refuse_conjugated_views_and_modes() -> None:
    param = torch.randn(3, dtype=torch.complex64).conj().requires_grad_()
    param.grad = torch.ones_like(param)
    with pytest.raises(BackendError, match="a view with a lazy minus sign or conjugation"):
        adamantine.SGD([param], backend="lists").step()
    (param,) = parameters(3)
    param.grad = torch.ones(3)
    with (
        FlopCounterMode(display=False),
        pytest.raises(BackendError, match=r"seen by .*, to which each of its operations"),
    ):
        adamantine.SGD([param], backend="lists").step()


def test_sparse_gradients_are_refused_or_done_by_rows() -> None:
    table = torch.nn.Embedding(5, 3, sparse=True)
    dense = torch.nn.Parameter(torch.zeros(3))
    (table(torch.tensor([1, 3])) + dense).sum().backward()
    with pytest.raises(BackendError, match="sparse"):
        adamantine.Lion(list(table.parameters()), backend="lists").step()
    optimizer = adamantine.Adam([table.weight, dense], sparse="lazy", backend="lists")
    before = table.weight.detach().clone()
    optimizer.step()
    changed = (table.weight != before).any(1)
    assert changed.tolist() == [False, True, False, True, False]
    assert dense.ne(0).all()


def twins(make: Callable[[], list[torch.Tensor]]) -> Iterator[tuple[Any, list[torch.Tensor]]]:
    for backend in ("lists", "reference"):
        params = make()
        yield adamantine.SGD(params, lr=0.5, momentum=0.9, backend=backend), params


def test_parameters_that_share_memory_are_updated_one_after_the_other() -> None:
    def make() -> list[torch.Tensor]:
        memory = torch.arange(8.0)
        return [memory[:5].requires_grad_(), memory[3:].requires_grad_()]

    found = []
    for optimizer, params in twins(make):
        for step in range(3):
            for param in params:
                param.grad = torch.full_like(param, 1.0 + step)
            optimizer.step()
        found.append([p.detach().clone() for p in params])
    torch.testing.assert_close(*found)


def test_memory_that_is_shared_later() -> None:
    def make() -> list[torch.Tensor]:
        return [torch.arange(4.0).requires_grad_(), torch.arange(4.0).requires_grad_()]

    found = []
    for optimizer, params in twins(make):
        for step in range(3):
            for param in params:
                param.grad = torch.full_like(param, 1.0 + step)
            optimizer.step()
            params[1].data = params[0].data
        found.append([p.detach().clone() for p in params])
    torch.testing.assert_close(*found)


def test_tensors_that_move_are_followed() -> None:
    """By the same plan, as long as nothing but their place is new."""
    ours, theirs = parameters(*SHAPES), parameters(*SHAPES)
    a = adamantine.Adam(ours, backend="lists")
    b = adamantine.Adam(theirs, backend="reference")
    plans: list[Any] = []
    for step in range(4):
        for params, optimizer in ((ours, a), (theirs, b)):
            train(optimizer, params, 1, seed=step)
            for param in params:
                param.data = param.data.clamp(-1, 1)
        plans.append(a._plan)
    assert all(plan is plans[0] for plan in plans)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)
    ours[0].data = ours[0].data.double()
    a.state[ours[0]]["exp_avg"].data = a.state[ours[0]]["exp_avg"].data.double()
    a.state[ours[0]]["exp_avg_sq"].data = a.state[ours[0]]["exp_avg_sq"].data.double()
    ours[0].grad = torch.ones(5, dtype=torch.float64)
    a.step()
    assert a._plan is not plans[0]


@pytest.mark.parametrize("where", ["param", "momentum_buffer", "other"])
def test_gradients_that_are_what_is_written(where: str) -> None:
    def make() -> list[torch.Tensor]:
        return [torch.arange(1.0, 5.0).requires_grad_(), torch.arange(4.0).requires_grad_()]

    found = []
    for optimizer, params in twins(make):
        for param in params:
            param.grad = torch.ones(4)
        optimizer.step()
        state = optimizer.state[params[0]]
        params[0].grad = {
            "param": params[0].detach(),
            "momentum_buffer": state["momentum_buffer"],
            "other": torch.ones(4),
        }[where]
        optimizer.step()
        found.append([p.detach().clone() for p in params])
    torch.testing.assert_close(*found)


def test_runs_of_a_long_list_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for most in (by_lists.ELEMENTS, 30, 1):
        monkeypatch.setattr(by_lists, "ELEMENTS", most)
        params = parameters(7, 13, 40, (), 17)
        train(adamantine.AdamW(params, cautious=True, backend="lists"), params, 3)
        found.append(params)
    for other in found[1:]:
        assert all(torch.equal(p, q) for p, q in zip(found[0], other, strict=True))


def test_versions_count_what_is_written() -> None:
    params = parameters(3, 4)
    optimizer = adamantine.Adam(params, backend="lists")
    loss = sum((p * p).sum() for p in params)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_case_one_by_one
def test_nobody_waits_for_a_device(case: Case) -> None:
    """Tensors without numbers, of which reading one is an error."""
    params = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    optimizer = case.ours(params, **case.settings, backend="lists")
    for _ in range(2):
        for param in params:
            param.grad = torch.empty_like(param)
        optimizer.step()
    assert all(float(state["step"]) == 2 for state in optimizer.state.values() if "step" in state)


@every_case
def test_another_default_device(case: Case) -> None:
    params = parameters(*SHAPES)
    optimizer = case.ours(params, **case.settings, backend="lists", max_grad_norm=1.0)
    train(optimizer, params, 1)
    with torch.device("meta"):
        optimizer.step()
