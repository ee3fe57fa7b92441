"""What compilers make of the kernels: machine code for three GPUs, none of which has to be here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from machine_code import GFX942, SM_80, SM_90, bytes_an_element, compiled_for, resources_of
from triton.backends.compiler import GPUTarget

from adamantine.backends.formats import CODES, OFFSETS, Format
from adamantine.backends.gpu.kernel.compiling import (
    Launch,
    compiled,
    compiled_decision,
    compiled_samples,
    compiled_squares,
    compiled_sums,
    compiled_totals,
)
from adamantine.rules import Rule
from adamantine.rules.adafactor import FACTORED, FACTORED_AVERAGE
from adamantine.rules.adam import ADAM, PLAIN
from adamantine.rules.compensated import compensated
from adamantine.rules.master import mastered
from cases import RULES

FLOAT32 = Format(torch.float32)
SIGNED, UNSIGNED = Format(CODES), Format(CODES, signed=False)
HALF = Format(torch.bfloat16, stochastic=True)
TARGETS = [SM_80, SM_90, GFX942]


def of_states(rule: Rule, kind: str) -> list[Format]:
    """The formats of a rule's states: as many as may be of this kind."""
    if kind == "codes":
        return [
            FLOAT32 if name in rule.exact else UNSIGNED if name in rule.nonnegative else SIGNED
            for name in rule.states
        ]
    return [{"stochastic": HALF}.get(kind, FLOAT32)] * len(rule.states)


def in_format(rule: Rule, kind: str) -> tuple[Rule, tuple[Format, ...]]:
    """`rule`, or what it becomes, and the formats of its parameter and states."""
    name, _, dtype = kind.partition("-")
    param = Format(getattr(torch, dtype)) if dtype else FLOAT32
    if name == "plain":
        return rule, (param,) * (1 + len(rule.states))
    if name == "stochastic":
        return rule, (HALF, *of_states(rule, name))
    if name == "codes":
        return rule, (param, *of_states(rule, name))
    if name == "kahan":
        return compensated(rule, dtype), (param, *of_states(rule, ""), param)
    if name == "master":
        return mastered(rule, "float32", dtype), (param, *of_states(rule, "codes"), FLOAT32)
    return mastered(rule, "24bit", dtype), (param, *of_states(rule, ""), Format(OFFSETS))


KINDS = [
    "plain-float32", "plain-float64", "plain-bfloat16", "plain-float16", "codes", "codes-bfloat16",
    "stochastic", "kahan-bfloat16", "kahan-float16", "master-bfloat16", "master-float16",
    "master_24bit-bfloat16",
]  # fmt: skip


def rows() -> list[Any]:
    """Every rule and format for one target, every rule and Adam's every format for all."""
    found = []
    for rule, _ in RULES:
        for kind in KINDS:
            for target in TARGETS:
                if target != SM_90 and kind != KINDS[0] and rule != ADAM:
                    continue
                quick = target == SM_90 and (
                    (kind == KINDS[0] and rule.sums is None)
                    or (rule == ADAM and kind in ("codes", "stochastic", KINDS[-1]))
                )
                quick |= rule == ADAM and kind == KINDS[0]
                name = f"{rule.name}-{kind}-{target.arch}"
                marks = [] if quick else [pytest.mark.slow]
                found.append(pytest.param(rule, kind, target, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("rule", "kind", "target"), rows())
def test_every_kernel_stays_in_registers(
    rule: Rule, kind: str, target: GPUTarget, tmp_path: Path
) -> None:
    rule, formats = in_format(rule, kind)
    code = compiled_for(compiled(rule, formats), target)
    found = resources_of(code, tmp_path)
    assert (found.stack, found.spilled) == (0, 0)
    if target.backend == "cuda":
        param, *states = (f.dtype.itemsize for f in formats)
        assert bytes_an_element(code) == {"ld": 2 * param + sum(states), "st": param + sum(states)}
        if kind == KINDS[0]:
            check_arithmetic(code.asm["ptx"])


def check_arithmetic(ptx: str) -> None:
    """Loads and stores are of 128 bits; nothing is fused, approximate, or float64 unawares."""
    assert ".global.v2" not in ptx
    assert "fma." not in ptx
    assert ".approx" not in ptx
    assert ".ftz" not in ptx
    of_sign = 1  # times the decision, before it is rounded
    assert len(re.findall(r"\b(?:add|sub|mul|div|sqrt)\S*\.f64", ptx)) == of_sign


def test_divisions_are_those_that_the_docstring_says() -> None:
    launch = compiled(ADAM, (FLOAT32,) * 3)
    assert "div.full.f32" in compiled_for(launch, SM_90).asm["ptx"]
    wide = compiled_for(compiled(ADAM, (Format(torch.float64),) * 3), SM_90).asm["ptx"]
    assert "div.rn.f64" in wide
    assert "sqrt.rn.f64" in wide


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: str(t.arch))
@pytest.mark.parametrize("kind", ["plain-float32", "codes", "master_24bit-bfloat16"])
def test_statistics_and_zeros_stay_in_registers_too(
    kind: str, target: GPUTarget, tmp_path: Path
) -> None:
    rule, formats = in_format(ADAM, kind)
    launches = [compiled(rule, formats, True, True), *compiled_samples(rule, formats)]
    for launch in launches:
        found = resources_of(compiled_for(launch, target), tmp_path)
        assert (found.stack, found.spilled) == (0, 0)


CAUTIOUS = PLAIN({"cautious": True})


def passes() -> list[Launch]:
    return [
        *(compiled_squares(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float64)),
        *(compiled_totals(count) for count in (1, 3)),
        compiled_decision(CAUTIOUS),
        *(compiled_sums(*in_format(CAUTIOUS, kind)) for kind in ("plain-float32", "codes")),
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: str(t.arch))
def test_passes_beside_the_update_stay_in_registers(target: GPUTarget, tmp_path: Path) -> None:
    for launch in passes():
        found = resources_of(compiled_for(launch, target), tmp_path)
        assert (found.stack, found.spilled) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_sum_compiles(kind: str, subtests: pytest.Subtests, tmp_path: Path) -> None:
    for rule in (rule for rule, _ in RULES if rule.sums):
        with subtests.test(rule.name):
            code = compiled_for(compiled_sums(*in_format(rule, kind)), SM_90)
            assert resources_of(code, tmp_path).stack == 0


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: str(t.arch))
@pytest.mark.parametrize("rule", [FACTORED, FACTORED_AVERAGE], ids=lambda rule: rule.name)
def test_kernels_with_numbers_for_rows_and_columns_stay_in_registers(
    rule: Rule, target: GPUTarget, tmp_path: Path
) -> None:
    formats = (FLOAT32,) * (1 + len(rule.states) - len(rule.shapes))
    for launch in (compiled(rule, formats), compiled_sums(rule, formats)):
        code = compiled_for(launch, target)
        found = resources_of(code, tmp_path)
        assert (found.stack, found.spilled) == (0, 0)
        if target.backend == "cuda" and launch is compiled(rule, formats):
            check_arithmetic(code.asm["ptx"])


def test_gradients_are_read_in_the_widest_loads() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        code = compiled_for(compiled_squares(dtype), SM_90)
        assert bytes_an_element(code) == {"ld": dtype.itemsize, "st": 0}


def test_kernels_have_the_names_of_their_rules() -> None:
    code = compiled_for(compiled(*in_format(ADAM, "codes")), SM_90)
    assert code.metadata.name == "adam_float32_int8_uint8"
