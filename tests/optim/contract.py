"""What the files of contract tests share: random parameters, gradients, and comparisons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import pytest
import torch

from cases import CASES, ONE_BY_ONE, Case, rule_of


def each_row(
    names: str, rows: Iterable[Sequence[Any]], kind: Callable[..., object] | None = None
) -> Callable[[Callable[..., None]], Any]:
    """Run a test with rows of arguments, the first of which is a case: a test an optimizer.

    Each of its rows is a subtest, which costs a quarter of a test of its own. Those of a `kind`
    that an earlier row is of are another test, which is slow: for what compiles kernels of its own.
    """
    groups: dict[tuple[str, bool], list[Sequence[Any]]] = {}
    seen = set()
    for row in rows:
        repeats = kind is not None and kind(*row) in seen
        groups.setdefault((row[0].ours.__name__, repeats), []).append(row)
        if kind is not None:
            seen.add(kind(*row))
    optimizers = [
        pytest.param(
            members,
            id=f"{name} again" if repeats else name,
            marks=[pytest.mark.slow] if repeats else [],
        )
        for (name, repeats), members in sorted(groups.items(), key=lambda item: item[0][1])
    ]
    arguments = names.split(", ")

    def decorate(test: Callable[..., None]) -> Any:
        signature = inspect.signature(test)

        @wraps(test)
        def grouped(rows: list[Sequence[Any]], subtests: pytest.Subtests, **fixtures: Any) -> None:
            for row in rows:
                with subtests.test("-".join(map(str, row[:2]))):
                    test(**dict(zip(arguments, row, strict=True)), **fixtures)

        added = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in ("rows", "subtests")
        ]
        kept = [p for name, p in signature.parameters.items() if name not in arguments]
        grouped.__signature__ = signature.replace(parameters=added + kept)  # type: ignore[attr-defined]
        return pytest.mark.parametrize("rows", optimizers)(grouped)

    return decorate


_FIRST_RULES: dict[type, str] = {}
for _case in CASES:
    _FIRST_RULES.setdefault(_case.ours, rule_of(_case).name)


def first_rule(case: Case) -> str:
    """The rule of the optimizer's first row: two optimizers may have one, and so its kernels."""
    return _FIRST_RULES[case.ours]


ROWS = [(case,) for case in CASES]
every_case = each_row("case", ROWS)
every_case_one_by_one = each_row("case", [(case,) for case in ONE_BY_ONE])
one_case_each = each_row("case", ROWS, lambda case: case.ours)
"""A row of each optimizer; the others are slow."""

one_case_of_each_rule = each_row("case", ROWS, lambda case: (case.ours, rule_of(case)))
"""The other rows are slow: they are the same with other numbers."""

one_case_of_each_number_of_states = each_row("case", ROWS, lambda case: len(rule_of(case).states))
"""The other rows are slow: for what a kernel does around a rule, whatever the rule."""

first_case = each_row("case", ROWS, lambda case: None)
"""The other rows are slow: for what has little to do with a rule, and needs kernels of its own."""

UNUSED = ("maximize", "weight_decay", "decoupled_weight_decay")


def _descent(case: Case) -> object:
    rest = {k: v for k, v in case.settings.items() if k not in UNUSED}
    return case.ours, *sorted(map(str, rest.items()))


every_descent = each_row("case", ROWS, _descent)
"""The rows that differ where nothing decays and all is minimized; the others are slow."""

OPTIMIZERS = list(dict.fromkeys(case.ours for case in CASES))


def in_turn(choices: Iterable[Any]) -> list[tuple[Case, Any]]:
    """Every row with each of the choices, of which the next optimizer begins with the next."""
    order = list(choices)
    found = []
    for case in CASES:
        turn = OPTIMIZERS.index(case.ours) % len(order)
        found += [(case, choice) for choice in order[turn:] + order[:turn]]
    return found


def every_case_in(tolerances: Mapping[torch.dtype, float | None]) -> Callable[..., Any]:
    """Every row with each of the dtypes and its `rtol`.

    Where there is a kernel for each rule and dtype, only an optimizer's first row is not slow, and
    that with one of the dtypes of 16 bits only, and not if another one has its rule.
    """
    shared = torch.float32, torch.complex64  # one kernel, which all tests share
    halves = [dtype for dtype in tolerances if dtype.itemsize == 2]
    pairs = [(case, dtype) for dtype in tolerances if dtype not in halves for case in CASES]

    def kind(case: Case, dtype: torch.dtype, _: float | None) -> object:
        return (dtype, case.name) if dtype in shared else (dtype.itemsize, first_rule(case))

    rows = [(case, dtype, tolerances[dtype]) for case, dtype in pairs + in_turn(halves)]
    return each_row("case, dtype, rtol", rows, kind)


Optimizer = torch.optim.Optimizer


def parameters(
    *shapes: int | tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device | None = None,
) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype).to(device))
        for shape in shapes
    ]


def train(
    optimizer: Optimizer, params: list[torch.nn.Parameter], steps: int, seed: int = 1
) -> None:
    """Feed `steps` random gradients, the same for all dtypes."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float32)
            param.grad = grad.to(param)
        optimizer.step()


def clones(params: list[torch.nn.Parameter], dtype: torch.dtype | None = None) -> list:
    return [torch.nn.Parameter(p.detach().clone().to(dtype or p.dtype)) for p in params]


def worst_error(params: list[torch.nn.Parameter], exact: list[torch.nn.Parameter]) -> float:
    pairs = zip(params, exact, strict=True)
    return max(float((p - e).detach().abs().max()) for p, e in pairs if p.numel())


def about(group: dict[str, Any]) -> dict[str, Any]:
    """A group to compare another one with, in which a step may have left a sum over tensors."""
    return {k: pytest.approx(v, rel=1e-4) if type(v) is float else v for k, v in group.items()}


def assert_same_state(ours: Optimizer, theirs: Optimizer, rtol: float = 1e-4) -> None:
    a, b = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert a.keys() == b.keys()
    for index in a:
        assert a[index].keys() == b[index].keys()
        for name in a[index]:
            torch.testing.assert_close(a[index][name], b[index][name], rtol=rtol, atol=1e-6)
