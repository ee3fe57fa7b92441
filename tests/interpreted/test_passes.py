"""Passes beside the update: sums, sums of squares, and what a step tells of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from launching import Launched, tensors_for
from test_update_kernel import (
    BFLOAT16,
    BY_RULE,
    EVERY_KIND,
    FLOAT32,
    SIGNED,
    SIZES,
    UNSIGNED,
    copied,
    launched_kind,
    paired,
    plain,
    same_bits,
    scalars_of,
    slow_if,
)  # fmt: skip

from adamantine.backends import reference
from adamantine.backends.formats import Format
from adamantine.backends.gpu.kernel.counters import read_counters
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.backends.gpu.kernel.step_statistics import SAMPLES
from adamantine.rules import Rule
from adamantine.rules.adam import ADAM, PLAIN
from adamantine.rules.cautious import cautious_form

CAUTIOUS = PLAIN({"cautious": True})


@pytest.mark.parametrize(
    "rule",
    [pytest.param(r, id=r.name, marks=slow_if(r != CAUTIOUS)) for r in BY_RULE if r.sums],
)
def test_sums_of_every_rule_that_has_some(rule: Rule) -> None:
    formats = plain(rule, torch.float32)
    check_sums(rule, formats, scalars_of(BY_RULE[rule], 3))


@pytest.mark.parametrize(
    ("rule", "formats"),
    [
        (CAUTIOUS, (FLOAT32, SIGNED, UNSIGNED)),
        (CAUTIOUS, (BFLOAT16,) * 3),
        (CAUTIOUS, plain(CAUTIOUS, torch.float64)),
        paired("24bit", "bfloat16", CAUTIOUS),
        paired("compensation", "bfloat16", CAUTIOUS),
        paired("float32", "float16", cautious_form(ADAM)),
    ],
    ids=["codes", "bfloat16", "float64", "master_24bit", "kahan", "master"],
)
def test_sums_of_every_format(rule: Rule, formats: tuple[Format, ...]) -> None:
    check_sums(rule, formats, scalars_of(BY_RULE[CAUTIOUS], 3))


def check_sums(rule: Rule, formats: tuple[Format, ...], scalars: dict[str, float]) -> None:
    tensors = [tensors_for(rule, formats, size) for size in [*SIZES, TILE]]
    del tensors[-1]["grad"]
    launched = Launched(rule, formats, tensors, [scalars] * len(tensors))
    sums = launched.sums()
    assert rule.sums is not None
    for each, found, decided in zip(tensors, sums, launched.decided, strict=True):
        if "grad" not in each or not len(each["param"]):
            assert not found.any()
            continue
        states = reference.opened(rule, formats, each)
        expected = reference.sums(rule, each["param"], each["grad"], states, scalars)
        exact = 0 if rule.sums.kind == "count" else 1e-5
        assert found.tolist() == pytest.approx(expected, rel=exact, abs=0)
        if rule.tensor_sums is not None:
            right = reference.decide(rule.sums, [found], [len(each["param"])], scalars)
            assert float(decided) == pytest.approx(float(right), rel=1e-14)


def test_nothing_is_summed_up_for_a_step_that_is_not_taken() -> None:
    formats = plain(CAUTIOUS, torch.float32)
    scalars = scalars_of(BY_RULE[CAUTIOUS], 3)
    tensors = [tensors_for(CAUTIOUS, formats, 50)]
    assert Launched(CAUTIOUS, formats, tensors, [scalars], decision=(1.0, 0.0)).sums().isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_sums_of_squares_are_those_of_float64(dtype: torch.dtype) -> None:
    formats = plain(ADAM, dtype)
    tensors = [tensors_for(ADAM, formats, size, spread=3.0) for size in [*SIZES, 9]]
    del tensors[-1]["grad"]
    launched = Launched(ADAM, formats, tensors, [scalars_of(BY_RULE[ADAM], 1)] * len(tensors))
    found = launched.squares().tolist()
    for each, total in zip(tensors, found, strict=True):
        squares = each["grad"].double().square().tolist() if "grad" in each else [0.0]
        assert total == pytest.approx(math.fsum(squares), rel=1e-14)
    same = Launched(
        ADAM, formats, tensors, [scalars_of(BY_RULE[ADAM], 1)] * len(tensors), chunk=7 * TILE
    )
    assert same.squares().tolist() == found


def test_sums_of_squares_neither_overflow_nor_vanish() -> None:
    formats = plain(ADAM, torch.float32)
    tensors = [tensors_for(ADAM, formats, 3 * TILE) for _ in range(4)]
    for each, value in zip(tensors, [3e38, 1e-45, torch.inf, torch.nan], strict=True):
        each["grad"].fill_(0)[-1] = value
    launched = Launched(ADAM, formats, tensors, [scalars_of(BY_RULE[ADAM], 1)] * 4)
    expected = [float(torch.tensor(v).double() ** 2) for v in (3e38, 1e-45, torch.inf)]
    assert launched.squares()[:3].tolist() == expected
    assert launched.squares()[3].isnan()


def numbers(kind: str, each: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a parameter is, in one tensor or two."""
    rule, _ = EVERY_KIND[kind]
    if rule.joined is None:
        return each["param"].float()
    return reference.joined(rule, each["param"], each[rule.states[-1]])


@pytest.mark.parametrize("zero_grads", [False, True])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_statistics_are_those_of_brute_force(kind: str, zero_grads: bool) -> None:
    launched, tensors = launched_kind(kind)
    before = copied(tensors)
    grad_less = copied(tensors)
    launched.update(zero_grads, collect_stats=True)
    other, _ = launched_kind(kind, tensors=grad_less)
    other.update(zero_grads)
    same_bits(tensors, grad_less)
    for old, new, sums in zip(before, tensors, launched.statistics(), strict=True):
        was, now = numbers(kind, old), numbers(kind, new)
        for found, values in zip(sums[:-1], (old["grad"], now - was, now), strict=True):
            expected = math.fsum(values.double().square().tolist())
            assert float(found) == pytest.approx(expected, rel=1e-13, abs=1e-300)


def test_what_is_not_finite_is_counted() -> None:
    launched, tensors = launched_kind("plain")
    for t, each in enumerate(tensors):
        each["grad"][: t % 4] = math.nan
        each["grad"][len(each["grad"]) - t % 3 :] = -math.inf
    expected = [(~each["grad"].isfinite()).sum() for each in tensors]
    launched.update(collect_stats=True)
    assert launched.statistics()[:, -1].tolist() == expected


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_samples_are_those_of_brute_force(kind: str) -> None:
    sizes = [0, 1, SAMPLES, SAMPLES + 1, 7 * SAMPLES - 1, 9 * SAMPLES + 3]
    launched, tensors = launched_kind(kind, sizes)
    tensors[1]["grad"].fill_(0)
    before = copied(tensors)
    rates = launched.sampled(zero_grads=True)
    for size, old, new, found in zip(sizes, before, tensors, rates, strict=True):
        went = (numbers(kind, new).double() - numbers(kind, old).double()).abs()
        every = (went / old["grad"].double().abs()).numpy()
        usable = found[~found.isnan()].numpy()
        stride = max(1, (size // SAMPLES - 1) | 1) if size > SAMPLES else 1
        np.testing.assert_allclose(found[: len(every[::stride])], every[::stride][:SAMPLES])
        assert len(usable) >= (min(size, SAMPLES) if size > 1 else 0) - 1
        assert found[len(every[::stride]) :].isnan().all()


def test_samples_of_a_step_that_is_not_taken_are_none() -> None:
    launched, tensors = launched_kind("plain", [40, 40])
    del tensors[0]["grad"]
    launched, _ = launched_kind("plain", tensors=tensors)
    rates = launched.sampled()
    assert rates[0].isnan().all()
    assert rates[1][:40].isfinite().all()
    launched.decision[1] = 0
    assert launched.sampled().isnan().all()


def test_counters_of_who_sits_out_are_not_read() -> None:
    """Their addresses may be old ones."""
    counters = [torch.tensor(float(n)) for n in range(1, 200)]
    addresses = torch.tensor([counter.data_ptr() for counter in counters])
    rows = torch.arange(len(counters))
    rows[::3] = -1
    found = read_counters(addresses, rows)
    expected = torch.where(rows < 0, 0.0, torch.stack(counters).double())
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
