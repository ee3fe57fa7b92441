"""Rules with a compensation, as plain functions of numbers; and what rules say of their states."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamantine.rules import Rule, adam, ops
from adamantine.rules.compensated import COMPENSATION, compensated
from cases import CASES, RULES

every_rule = pytest.mark.parametrize("rule", [r for r, _ in RULES], ids=lambda rule: rule.name)


@given(st.floats(width=32))
def test_sixteen_bits_are_torchs(x: float) -> None:
    for op, dtype in ((ops.as_bfloat16, torch.bfloat16), (ops.as_float16, torch.float16)):
        expected = torch.tensor(x, dtype=torch.float32).to(dtype).item()
        found = op(x)
        assert found == expected or (math.isnan(found) and math.isnan(expected))


@every_rule
def test_it_is_the_rule_of_the_sum(rule: Rule) -> None:
    made = compensated(rule, "bfloat16")
    assert made is compensated(rule, "bfloat16")
    assert made.states == (*rule.states, COMPENSATION)
    assert made.scalars == rule.scalars
    assert made.name == f"compensated_bfloat16_{rule.name}"
    states = [0.25 + 0.125 * i for i in range(len(rule.states))]
    scalars = [0.01 * (i + 1) for i in range(len(rule.scalars))]
    param, compensation = 1.5, 2.0**-12
    expected, *expected_states = rule.update(param + compensation, 0.5, *states, *scalars)
    found, *found_states, rest = made.update(param, 0.5, *states, compensation, *scalars)
    assert found_states == expected_states
    assert found == ops.as_bfloat16(expected)
    assert found + rest == pytest.approx(expected, abs=1e-15)


def test_float16_has_a_rule_of_its_own() -> None:
    assert compensated(adam.ADAM, "float16") is not compensated(adam.ADAM, "bfloat16")


@every_rule
def test_what_rules_say_of_states_are_states(rule: Rule) -> None:
    assert set(rule.nonnegative) <= set(rule.states)
    assert set(rule.exact) <= set(rule.states)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_states_called_nonnegative_are(case: object) -> None:
    """And the others are not: with a sign they get a bit that these need not spend."""
    param = torch.nn.Parameter(torch.randn(500, generator=torch.Generator().manual_seed(0)))
    optimizer = case.ours([param], **case.settings)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        param.grad = torch.randn(500, generator=generator)
        optimizer.step()
    rule = optimizer.family.rule_of(optimizer.param_groups[0], param.shape)
    for name in rule.states:
        smallest = float(optimizer.state[param][name].min())
        if name in rule.nonnegative:
            assert smallest >= 0
        elif name not in rule.exact:
            assert smallest < 0, f"{name} is never negative: say so in Rule(nonnegative=…)"
