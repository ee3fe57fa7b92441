"""Rules as plain functions of numbers, and their binding."""

from __future__ import annotations

import inspect
import math
from functools import partial
from types import FunctionType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamantine.backends import reference
from adamantine.backends.gpu.device_scalars import scalars_on_device
from adamantine.rules import Family, Rule, adam, bind, ops
from adamantine.rules.cautious import OPERATIONS
from adamantine.rules.compensated import ROUNDING, compensated
from adamantine.rules.hyperparameters import BETAS, LEARNING_RATE, Hyperparameter
from adamantine.rules.master import mastered
from cases import CASES, FAMILIES, RULES, Case, rule_of

ADAM_SETTINGS = {
    "lr": 0.5,
    "betas": (0.9, 0.999),
    "eps": 0.0,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
    "decoupled_weight_decay": False,
}
every_rule = pytest.mark.parametrize("rule", [r for r, _ in RULES], ids=lambda rule: rule.name)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
every_row = pytest.mark.parametrize("case", CASES, ids=str)


def settings_of(case: Case) -> dict[str, Any]:
    (group,) = case.ours([torch.nn.Parameter(torch.zeros(1))], **case.settings).param_groups
    return group


def scalars_of(family: Family, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """The scalars of step number `steps`, other counters having followed from the start."""
    scalars = dict(family.initial(settings))
    for step in range(1, steps + 1):
        scalars = family.scalars(settings, step, *(scalars[c] for c in family.counters[1:]))
    return scalars


def functions_of(function: FunctionType) -> list[FunctionType]:
    """`function` and all rule functions that it calls."""
    called = [function.__globals__.get(name) for name in function.__code__.co_names]
    inner = [f for f in called if isinstance(f, FunctionType) and f.__module__ != ops.__name__]
    return [function, *(g for f in inner for g in functions_of(f))]


@every_rule
def test_rules_hold_no_literals(rule: Rule) -> None:
    """A literal would turn compiled float32 arithmetic into float64."""
    for function in functions_of(rule.update):
        numbers = [c for c in function.__code__.co_consts if isinstance(c, int | float)]
        assert numbers == []


@every_rule
def test_arguments_are_param_grad_states_scalars(rule: Rule) -> None:
    names = list(inspect.signature(rule.update).parameters)
    assert names[:2] == ["param", "grad"]
    assert tuple(names[2 : 2 + len(rule.states)]) == rule.states
    assert set(rule.scalars) == set(names[2 + len(rule.states) :])


@every_row
def test_host_scalars_cover_the_rule(case: Case) -> None:
    settings = settings_of(case)
    scalars = scalars_of(case.ours.family, settings, 1)
    assert set(case.ours.family.counters[1:]) <= set(scalars)
    assert set(case.ours.family.select(settings).scalars) <= set(scalars)
    assert all(isinstance(value, float | int) for value in scalars.values())


@every_row
@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "lr in a tensor"])
def test_scalars_of_counters_that_the_host_never_reads(case: Case, tensors: bool) -> None:
    """Of many tensors at once, each with a count of its own, in float64."""
    settings, family = settings_of(case), case.ours.family
    if tensors:
        settings = {**settings, "lr": torch.tensor(settings["lr"], dtype=torch.float64)}
    steps = [1, 2, 3, 4, 5, 6, 7, 100, 5000]
    others = torch.linspace(0.1, 0.9, len(steps), dtype=torch.float64)
    counters = [torch.tensor(steps, dtype=torch.float64), *[others] * len(family.counters[1:])]
    found = scalars_on_device(family.scalars, settings, counters)
    for row, step in enumerate(steps):
        expected = family.scalars(settings, step, *(c[row].item() for c in counters[1:]))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            scalar = found[name]
            if isinstance(scalar, torch.Tensor):
                assert scalar.dtype == torch.float64, name
                scalar = float(scalar if scalar.dim() == 0 else scalar[row])
            assert scalar == pytest.approx(float(value), rel=1e-12), name


@every_family
def test_every_range_refuses_what_is_outside(family: Family) -> None:
    for hyperparameter in family.hyperparameters:
        if type(hyperparameter) is not Hyperparameter:
            continue  # it has a range of another kind, and bad settings in cases.py
        count = hyperparameter.count

        def check(value: float, of: Hyperparameter = hyperparameter) -> None:
            of.check(value if of.count is None else (value,) * of.count)

        check(hyperparameter.minimum)
        for bad in (hyperparameter.minimum - 1, math.nan):
            with pytest.raises(ValueError, match=f"Invalid {hyperparameter.label}"):
                check(bad)
        if hyperparameter.below is not None:
            with pytest.raises(ValueError, match="expected >= 0 and < 1"):
                check(hyperparameter.below)
        if hyperparameter.maximum is not None:
            check(hyperparameter.maximum)
            with pytest.raises(ValueError, match="expected >= 0 and <= 1"):
                check(hyperparameter.maximum + 1e-9)
        if count is not None:
            low = hyperparameter.minimum
            for wrong in (low, (low,) * (count - 1), [low] * (count + 1)):
                with pytest.raises(ValueError, match=f"expected {count} numbers"):
                    hyperparameter.check(wrong)


def test_tuples_are_checked_by_element() -> None:
    with pytest.raises(ValueError, match=r"Invalid beta parameter at index 1: 1\.5"):
        BETAS.check((0.9, 1.5))
    assert LEARNING_RATE.range == ">= 0"


def summed_up(
    rule: Rule, columns: list[torch.Tensor], scalars: dict[str, Any], settings: dict[str, Any]
) -> float:
    """The scalar that sums over all elements decide, one after the other."""
    sums = rule.sums
    totals = dict.fromkeys(sums.names, 0.0)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        given = {**scalars, **dict(zip(rule.tensors, row, strict=True))}
        for name, x in zip(sums.names, sums.of(*(given[a] for a in sums.arguments)), strict=True):
            totals[name] += {"count": float(x > 0), "sum": x, "squares": x * x}[sums.kind]
    if sums.over == "parameters":
        return sums.value([settings], [totals])[sums.scalar]
    known = {**scalars, **totals, "elements": len(columns[0])}
    return sums.value(*(known[name] for name in sums.needed))


@every_row
def test_float_by_float_equals_the_reference_backend(case: Case) -> None:
    """The third oracle beside torch and the tensors: plain Python numbers, one at a time."""
    settings = settings_of(case)
    rule, scalars = rule_of(case), scalars_of(case.ours.family, settings, 3)
    generator = torch.Generator().manual_seed(0)
    columns = [
        torch.rand(20, generator=generator, dtype=torch.float64) + 0.1
        for _ in range(2 + len(rule.states))
    ]
    if rule.sums is not None:
        scalars = {**scalars, rule.sums.scalar: summed_up(rule, columns, scalars, settings)}
    values = [scalars[name] for name in rule.scalars]
    expected = [rule.update(*map(float, row), *values) for row in zip(*columns, strict=True)]
    param, grad, *states = columns
    reference.update(rule, param, grad, states, scalars)
    for column, result in zip((param, *states), zip(*expected, strict=True), strict=True):
        exact = torch.tensor(result, dtype=torch.float64)
        torch.testing.assert_close(column, exact, rtol=1e-14, atol=0)


def test_adam_by_hand() -> None:
    """Two steps of Kingma and Ba's Algorithm 1 with g = 1 and then -2, worked out on paper."""
    theta, m, v = 1.0, 0.0, 0.0
    for t, grad in ((1, 1.0), (2, -2.0)):
        scalars = adam.scalars(ADAM_SETTINGS, t)
        theta, m, v = adam.adam(theta, grad, m, v, *(scalars[n] for n in adam.ADAM.scalars))
    # m = .9(.1) + .1(-2) = -.11, over 1-.81; v = .999(.001) + .001(4), over 1-.998001
    second = 0.5 * (-0.11 / 0.19) / math.sqrt(0.004999 / 0.001999)
    assert theta == pytest.approx(1.0 - 0.5 - second, rel=1e-12)


def test_amsgrad_counterexample() -> None:
    """Reddi et al. 2018, section 3: a large gradient every third step, f sums to x on [-1, 1].

    Adam (β1 = 0, β2 = 1/(1+C²)) runs to +1, the worst point; AMSGrad goes to -1, the best.
    """
    C = 3.0
    settings = {**ADAM_SETTINGS, "betas": (0.0, 1 / (1 + C * C)), "lr": 0.01}
    ends = []
    for rule in (adam.ADAM, adam.AMSGRAD):
        x, states = 0.0, [0.0] * len(rule.states)
        for t in range(1, 6001):
            scalars = {**adam.scalars(settings, t), "inv_sqrt_bias2": 1.0}
            grad = C if t % 3 == 1 else -1.0
            x, *states = rule.update(x, grad, *states, *(scalars[n] for n in rule.scalars))
            x = min(1.0, max(-1.0, x))
        ends.append(x)
    assert ends[0] > 0.9
    assert ends[1] < -0.9


def test_functions_that_differ_have_names_that_differ() -> None:
    """A compiler that links by name would take one for another: they share their code's name."""
    masters = ("float32", "bfloat16"), ("float32", "float16"), ("24bit", "bfloat16")
    forms = [
        form
        for rule, _ in RULES
        for form in (
            rule,
            *map(partial(compensated, rule), ROUNDING),
            *(mastered(rule, *kind) for kind in masters),
        )
    ]
    updates = [bind(form.update, OPERATIONS).__qualname__ for form in forms]
    assert len(set(updates)) == len(updates)
    summed = [form.sums.of for form in forms if form.sums is not None]
    made_of = {
        (bind(f, OPERATIONS).__qualname__, *map(f.__globals__.get, ("INNER", "joined")))
        for f in summed
    }
    assert len({name for name, *_ in made_of}) == len(made_of)


def test_binding_reaches_functions_that_are_called() -> None:
    seen = []

    def spy(x: float) -> float:
        seen.append(x)
        return math.sqrt(x)

    bound = bind(adam.adam, {"sqrt": spy})
    scalars = adam.scalars(ADAM_SETTINGS, 1)
    arguments = (1.0, 1.0, 0.0, 0.0, *(scalars[n] for n in adam.ADAM.scalars))
    assert bound(*arguments) == adam.adam(*arguments)
    assert seen == [pytest.approx(0.001)]
    assert adam.adaptive.__globals__["sqrt"] is ops.sqrt  # the original is as it was


@given(st.floats(width=32), st.floats(width=32))
def test_operations_on_floats_are_torchs(x: float, y: float) -> None:
    a, b = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    pairs = [
        (ops.sqrt(x), torch.sqrt(a)),
        (ops.absolute(x), torch.abs(a)),
        (ops.maximum(x, y), torch.maximum(a, b)),
        (ops.where(x, x, y), torch.where(a.bool(), a, b)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(
            torch.tensor(ours, dtype=torch.float64), theirs, equal_nan=True, rtol=4e-16, atol=0
        )
