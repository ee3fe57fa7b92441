"""The lists backend against the reference: all rules, and arithmetic at random."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from adamantine.backends import lists, reference
from adamantine.rules import Rule
from adamantine.rules.compensated import compensated
from adamantine.rules.master import mastered
from adamantine.rules.ops import absolute, maximum, signum, where
from cases import CASES, Case, rule_of

every_case = pytest.mark.parametrize("case", CASES, ids=str)
SHAPES = [(17,), (3, 4), (), (0,), (2, 1, 5)]
WRONG = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30, 1e-38]
EPSILONS = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def scalars_of(case: Case, rule: Rule, step: int, factor: float = 1.0) -> dict[str, Any]:
    """Of a step; what sums decide is left to the backends."""
    (group,) = case.ours([torch.nn.Parameter(torch.zeros(1))], **case.settings).param_groups
    family = case.ours.family
    found: dict[str, Any] = dict(family.initial(group))
    for number in range(1, step + 1):
        found = family.scalars(group, number, *(found[name] for name in family.counters[1:]))
    found["sign"] *= factor
    return {
        name: value
        for name, value in found.items()
        if rule.tensor_sums is None or name != rule.tensor_sums.scalar
    }


def tensors(
    dtype: torch.dtype, generator: torch.Generator, *, positive: bool = False
) -> list[Tensor]:
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    made = [t.abs() + 0.1 if positive else t for t in made]
    return [(10 * t).to(dtype) if dtype == torch.int8 else t.to(dtype) for t in made]


def states_of(rule: Rule, dtype: torch.dtype, generator: torch.Generator) -> list[list[Tensor]]:
    states = [tensors(dtype, generator, positive=True) for _ in rule.states]
    if rule.exact:  # a variance is what is left of two numbers: not next to nothing
        states[0] = [t + 9 for t in states[0]]
    return states


def joined(rule: Rule, params: list[Tensor], seconds: list[Tensor]) -> list[Tensor]:
    return [reference.joined(rule, p, s) for p, s in zip(params, seconds, strict=True)]


def check(
    rule: Rule,
    scalars: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    states: list[list[Tensor]],
    rtol: float,
) -> None:
    expected = [[t.clone() for t in column] for column in (params, *states)]
    before = [grad.clone() for grad in grads]
    for param, grad, *of_param in zip(expected[0], grads, *expected[1:], strict=True):
        reference.update(rule, param, grad, of_param, scalars)
    lists.update(rule, params, grads, states, scalars)
    found = [params, *states]
    if states and states[-1][0].dtype == torch.int8:  # which differ where a parameter does
        found[-1], expected[-1] = (joined(rule, x[0], x[-1]) for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol, equal_nan=True)
    torch.testing.assert_close(grads, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", EPSILONS)
@every_case
def test_every_rule_is_the_references(case: Case, dtype: torch.dtype) -> None:
    rule = rule_of(case)
    generator = torch.Generator().manual_seed(0)
    for step, factor in ((1, 1.0), (2, 1.0), (3, 0.37), (9, 1.0)):
        params, grads = tensors(dtype, generator), tensors(dtype, generator)
        states = states_of(rule, dtype, generator)
        scalars = scalars_of(case, rule, step, factor)
        check(rule, scalars, params, grads, states, EPSILONS[dtype])


@every_case
def test_complex_odd_strides_and_states_of_another_dtype(case: Case) -> None:
    rule = rule_of(case)
    generator = torch.Generator().manual_seed(0)
    make = partial(torch.randn, generator=generator)
    scalars = scalars_of(case, rule, 3)
    params = [make(5, dtype=torch.complex64), make(3, 4, dtype=torch.complex64).t()]
    grads = [make(5, dtype=torch.complex64).conj(), make(8, 3, dtype=torch.complex64)[::2]]
    states = [[torch.view_as_complex(make(*p.shape, 2).abs()) for p in params] for _ in rule.states]
    check(rule, scalars, params, grads, states, 2e-6)
    params = [make(40, 6)[::2, 1:5], make(6, 4).t(), make(2, 3, 4, 4), make(3)]
    grads = [make(20, 4), make(4, 6), make(2, 4, 4, 3).permute(0, 3, 1, 2), make(1).expand(3)]
    states = [[make(p.shape, dtype=torch.float64) ** 2 for p in params] for _ in rule.states]
    if rule.exact:
        states[0] = [t + 9 for t in states[0]]
    check(rule, scalars, params, grads, states, 2e-6)


@every_case
def test_what_is_not_finite(case: Case) -> None:
    rule = rule_of(case)
    bad = torch.tensor(WRONG)
    if rule.exact:  # in a fused product nothing overflows before it is subtracted
        bad[bad == 1e30] = 1e15
    for step in (1, 3):
        grads = [bad.clone(), bad.flip(0), torch.ones(7), torch.tensor(math.inf)]
        params = [torch.ones(7), torch.ones(7), bad.clone(), torch.tensor(1.0)]
        states = [[torch.ones_like(p) for p in params] for _ in rule.states]
        check(rule, scalars_of(case, rule, step), params, grads, states, 2e-6)
        if rule.states:
            states[0][0] = bad.roll(1)
            check(rule, scalars_of(case, rule, step), params, grads, states, 2e-6)


@every_case
def test_parameters_in_two_tensors(case: Case) -> None:
    rule = rule_of(case)
    generator = torch.Generator().manual_seed(0)
    for wrapped, second in (
        (compensated(rule, "bfloat16"), torch.bfloat16),
        (mastered(rule, "float32", "bfloat16"), torch.float32),
        (mastered(rule, "24bit", "bfloat16"), torch.int8),
    ):
        params, grads = (tensors(torch.bfloat16, generator) for _ in range(2))
        states = states_of(rule, torch.float32, generator)
        states.append(tensors(second, generator))
        if second == torch.float32:
            params[0] = states[-1][0].bfloat16()  # whose master is its master
        check(wrapped, scalars_of(case, wrapped, 3), params, grads, states, 1e-2)


def program(param, grad, first, second, steps):
    values = [param, grad, first, second]
    for operation, x, y, number in steps[:-1]:
        values.append(
            arithmetic(operation, values[x % len(values)], values[y % len(values)], number)
        )
    return tuple(values[index % len(values)] for index in steps[-1])


def arithmetic(operation, x, y, number):
    if operation == "times":
        return number * x
    if operation == "sum":
        return x + y
    if operation == "step":
        return x + number * y
    if operation == "towards":
        return x + number * (y - x)
    if operation == "product":
        return x * y
    if operation == "plus product":
        return number * x + y * y
    if operation == "shifted":
        return x - number
    if operation == "maximum":
        return maximum(x, y)
    if operation == "at least":
        return maximum(x, number)
    if operation == "choice":
        return where(x, y, -x)
    return absolute(x) if operation == "absolute" else signum(x)


OPERATIONS = (
    "times", "sum", "step", "towards", "product", "plus product", "shifted", "maximum", "at least",
    "choice", "absolute", "signum",
)  # fmt: skip
_indices = st.integers(0, 11)
_numbers = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
_values = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0]), min_size=4, max_size=4)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(OPERATIONS), _indices, _indices, _numbers), max_size=8
    ),
    results=st.tuples(_indices, _indices, _indices),
    rows=st.lists(_values, min_size=1, max_size=3),
)
def test_arithmetic_at_random_is_exact(
    steps: list[Any], results: tuple[int, ...], rows: list[list[float]]
) -> None:
    """Numbers so short that nothing is rounded, so that no order of operations shows."""
    scalars = (*steps, results)
    expected = [program(*map(float, row), scalars) for row in rows]
    assume(all(abs(value) < 2**20 for row in expected for value in row))
    exact = all((value * 2**16).is_integer() for row in expected for value in row)
    assume(exact)
    columns = [[torch.tensor([v], dtype=torch.float64) for v in c] for c in zip(*rows, strict=True)]
    params, grads, *states = columns
    rule = Rule(program, ("first", "second"))
    lists.update(rule, params, grads, states, {"sign": 1.0, "steps": scalars})
    found = [[t.item() for t in column] for column in (params, *states)]
    assert found == [list(column) for column in zip(*expected, strict=True)]
    assert [grad.item() for grad in grads] == [row[1] for row in rows]
