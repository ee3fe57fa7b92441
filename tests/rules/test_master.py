"""Rules with a master, as plain functions of numbers."""

from __future__ import annotations

from inspect import signature

import pytest

from adamantine.codecs.bits24 import joined, offset_of, upper_of
from adamantine.codecs.ops import bits, number
from adamantine.rules import Rule, ops
from adamantine.rules.master import mastered
from cases import RULES

every_rule = pytest.mark.parametrize("rule", [r for r, _ in RULES], ids=lambda rule: rule.name)


def rounded(x: float) -> float:
    """To float32."""
    return number(bits(x))


@every_rule
def test_it_is_the_rule_of_the_master(rule: Rule) -> None:
    states = [0.25 + 0.125 * i for i in range(len(rule.states))]
    scalars = [0.01 * (i + 1) for i in range(len(rule.scalars))]
    whole = 1.5 + 2.0**-12
    expected, *expected_states = rule.update(whole, 0.5, *states, *scalars)
    for kind, dtype, param, master in (
        ("float32", "bfloat16", 1.5, whole),
        ("float32", "float16", ops.as_float16(whole), whole),
        ("24bit", "bfloat16", upper_of(whole), offset_of(whole)),
    ):
        made = mastered(rule, kind, dtype)
        assert made is mastered(rule, kind, dtype)
        assert made.states == (*rule.states, "master")
        assert made.scalars == rule.scalars
        found, *found_states, rest = made.update(param, 0.5, *states, master, *scalars)
        assert found_states == expected_states
        if kind == "24bit":
            assert joined(found, rest) == pytest.approx(rounded(expected), rel=2.0**-16)
        else:
            assert found == rest == expected  # rounded when it is written


@every_rule
def test_a_master_that_is_not_the_parameters_does_not_count(rule: Rule) -> None:
    states, scalars = [0.5] * len(rule.states), [0.01] * len(rule.scalars)
    expected, *_ = rule.update(2.0, 0.5, *states, *scalars)
    found, *_ = mastered(rule, "float32", "bfloat16").update(2.0, 0.5, *states, 1.5, *scalars)
    assert found == expected


@every_rule
def test_sums_are_those_of_the_masters(rule: Rule) -> None:
    made = mastered(rule, "float32", "bfloat16")
    if rule.sums is None or "param" not in rule.sums.arguments:
        assert made.sums is rule.sums
        return
    assert made.sums is not None
    tensors = [name for name in rule.sums.arguments if name in rule.tensors]
    scalars = rule.sums.arguments[len(tensors) :]
    assert made.sums.arguments == (*tensors, "master", *scalars)
    assert tuple(signature(made.sums.of).parameters) == made.sums.arguments
    values = [0.25 * (i + 1) for i in range(len(rule.sums.arguments) - 1)]
    before, after = values[: len(tensors) - 1], values[len(tensors) - 1 :]
    whole = 1.5 + 2.0**-12
    assert made.sums.of(1.5, *before, whole, *after) == rule.sums.of(whole, *values)
