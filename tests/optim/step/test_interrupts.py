"""Ctrl-C between any two lines of a step: everything is as before it, or as after it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import adamantine
from adamantine.optim.step.interrupts import Uninterrupted


def dense(*dtypes: torch.dtype) -> list[Tensor]:
    return [torch.linspace(-1, 1, 5, dtype=dtype).requires_grad_() for dtype in dtypes]


def set_gradients(params: list[Tensor], turn: int, sparse: bool) -> None:
    for index, param in enumerate(params):
        param.grad = torch.full_like(param, 0.1 + turn + index)
        if sparse and index == 0:
            rows = torch.tensor([[turn, 3, 3]])
            param.grad = torch.sparse_coo_tensor(
                rows, torch.ones(3) + turn, (5,), check_invariants=True
            )


CASES: dict[str, tuple[Callable[[list[Tensor]], Any], list[torch.dtype], bool]] = {
    "one table": (lambda p: adamantine.Adam(p), [torch.float32] * 2, False),
    "no counters": (
        lambda p: adamantine.SGD(p, momentum=0.9, dampening=0.5),
        [torch.float32] * 2,
        False,
    ),
    "two tables": (lambda p: adamantine.Adam(p), [torch.float32, torch.float64], False),
    "reference": (
        lambda p: adamantine.NAdam(p, backend="reference"),
        [torch.float32] * 2,
        False,
    ),
    "lists": (lambda p: adamantine.NAdam(p, backend="lists"), [torch.float32] * 2, False),
    "rows in one call": (lambda p: adamantine.SGD(p[:1], lr=0.1), [torch.float32], True),
    "sparse": (
        lambda p: adamantine.Adam(p, sparse="exact"),
        [torch.float32, torch.float32],
        True,
    ),
}


@pytest.fixture
def python_handler() -> Iterator[None]:
    """What a shell's background jobs inherit ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(
    line: int, work: Callable[[], object], came: signal.Signals = signal.SIGINT
) -> bool:
    """Run `work` with a signal before its `line`-th line of ours; False where it has fewer."""
    lines = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal lines
        if "adamantine" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == line:
                signal.raise_signal(came)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return lines >= line


@pytest.mark.usefixtures("python_handler")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_the_first_step_is_done_or_not_begun(name: str, every: int) -> None:
    check(name, done=[], every=every)


@pytest.mark.usefixtures("python_handler")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_later_step_is_done_or_not_begun(name: str, every: int) -> None:
    check(name, done=[0], every=every)


def check(name: str, done: list[int], every: int) -> None:
    """Interrupt the step after those that are `done`, at every `every`-th line."""
    build, dtypes, sparse = CASES[name]

    def run(turns: list[int], optimizer: Any, params: list[Tensor]) -> Any:
        for turn in turns:
            set_gradients(params, turn, sparse)
            optimizer.step()
        return [p.detach() for p in params], optimizer.state_dict()["state"]

    def begin() -> tuple[Any, list[Tensor]]:
        params = dense(*dtypes)
        optimizer = build(params)
        run(done, optimizer, params)
        return optimizer, params

    expected = [run(turns, *begin()) for turns in ([2], [1, 2])]
    line, seen = 1, set()
    while True:
        optimizer, params = begin()
        set_gradients(params, 1, sparse)
        if not interrupt_at(line, optimizer.step):
            break
        # What the optimizer knows beside its state has to agree as well: go on.
        found = run([2], optimizer, params)
        same = [equal(found, wanted) for wanted in expected]
        assert any(same), f"{name}: interrupted at line {line}"
        seen.add(same.index(True))
        line += every
    assert seen == ({0, 1} if every <= 3 else seen | {0})
    assert line > 40


@pytest.mark.parametrize("came", [signal.SIGINT, signal.SIGTERM])
def test_handlers_are_back_wherever_one_of_them_raised(came: signal.Signals) -> None:
    class Raised(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Raised

    watched = signal.SIGTERM, signal.SIGINT, signal.SIGALRM
    before = {number: signal.signal(number, handler) for number in watched}
    try:
        line = raised = 0
        more = True
        while more:
            line += 1

            def block() -> None:
                with Uninterrupted():
                    pass

            try:
                more = interrupt_at(line, block, came)
            except Raised:
                raised += 1
            assert all(signal.getsignal(number) is handler for number in watched), line
        assert raised == line - 1 > 20  # none is swallowed
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def equal(found: Any, wanted: Any) -> bool:
    (params, states), (wanted_params, wanted_states) = found, wanted
    return all(map(torch.equal, params, wanted_params)) and all(
        torch.equal(value, wanted_states[index][key])
        for index, state in states.items()
        for key, value in state.items()
    )
