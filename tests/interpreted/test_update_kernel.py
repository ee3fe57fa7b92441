"""The kernel around a rule, against the reference and against itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from launching import Launched, Tensors, copied, tensors_for

from adamantine.backends import reference
from adamantine.backends.formats import CODES, OFFSETS, Format, exponents_of
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.codecs import noise
from adamantine.rules import Rule
from adamantine.rules.adam import ADAM
from adamantine.rules.compensated import compensated
from adamantine.rules.master import mastered
from adamantine.rules.sgd import MOMENTUM_SGD
from cases import CASES, Case, rule_of

BY_RULE = {rule_of(case): case for case in CASES}
FLOAT32 = Format(torch.float32)
BFLOAT16, FLOAT16 = Format(torch.bfloat16), Format(torch.float16)
STOCHASTIC = Format(torch.bfloat16, stochastic=True)
SIGNED, UNSIGNED = Format(CODES), Format(CODES, signed=False)

SIZES = [0, 1, 7, TILE - 1, TILE, TILE + 1, 3 * TILE + 17]


def scalars_of(case: Case, step: int) -> dict[str, float]:
    (group,) = case.ours([torch.nn.Parameter(torch.zeros(1))], **case.settings).param_groups
    family = case.ours.family
    initial = family.initial(group)
    others = [initial.get(name, 0.0) for name in family.counters[1:]]
    return family.scalars(group, step, *others)


def paired(second: str, dtype: str, of: Rule = ADAM) -> tuple[Rule, tuple[Format, ...]]:
    """A rule with a parameter of 16 bits in two tensors, and its formats."""
    param = Format(getattr(torch, dtype))
    if second == "compensation":
        rule, kept = compensated(of, dtype), param
    else:
        rule = mastered(of, second, dtype)
        kept = Format(OFFSETS) if second == "24bit" else FLOAT32
    return rule, (param, *[FLOAT32] * len(of.states), kept)


def plain(rule: Rule, dtype: torch.dtype) -> tuple[Format, ...]:
    return (Format(dtype),) * (1 + len(rule.states))


def by_reference(
    rule: Rule, formats: Sequence[Format], each: Tensors, scalars: dict[str, Any], key: int
) -> None:
    if "grad" in each and len(each["param"]):
        reference.update_kept(rule, formats, each["param"], each["grad"], each, scalars, key)


def same_bits(ones: Sequence[Tensors], others: Sequence[Tensors]) -> None:
    for one, other in zip(ones, others, strict=True):
        for name, tensor in one.items():
            assert torch.equal(
                tensor.contiguous().view(torch.uint8), other[name].contiguous().view(torch.uint8)
            ), name


TOLERANCE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-14},
    torch.float32: {"rtol": 3e-6, "atol": 3e-7},
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-6},
    torch.float16: {"rtol": 2**-9, "atol": 1e-6},
}


def close(found: Tensors, expected: Tensors, leave_out: Sequence[str] = ()) -> None:
    for name, tensor in found.items():
        if name not in leave_out:
            assert tensor.dtype == expected[name].dtype
            torch.testing.assert_close(
                tensor, expected[name], **TOLERANCE[tensor.dtype], equal_nan=True, msg=None
            )


def slow_if(condition: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if condition else []


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        pytest.param(rule, dtype, id=f"{rule.name}-{dtype}", marks=slow_if(
            rule.sums is not None or (dtype != torch.float32 and rule != ADAM)
        ))
        for rule in BY_RULE
        for dtype in DTYPES
    ],
)  # fmt: skip
def test_every_rule_agrees_with_the_reference(rule: Rule, dtype: torch.dtype) -> None:
    formats, case = plain(rule, dtype), BY_RULE[rule]
    tensors = [tensors_for(rule, formats, size) for size in SIZES]
    expected = copied(tensors)
    for step in (1, 2):
        scalars = scalars_of(case, step)
        launched = Launched(rule, formats, tensors, [scalars] * len(tensors))
        if rule.sums:
            launched.sums()
        launched.update()
        for each in expected:
            by_reference(rule, formats, each, scalars, 0)
    for found, right in zip(tensors, expected, strict=True):
        close(found, right)


EVERY_KIND: dict[str, tuple[Rule, tuple[Format, ...]]] = {
    "plain": (ADAM, plain(ADAM, torch.float32)),
    "codes": (ADAM, (FLOAT32, SIGNED, UNSIGNED)),
    "codes_of_bfloat16": (ADAM, (BFLOAT16, SIGNED, UNSIGNED)),
    "stochastic": (ADAM, (STOCHASTIC, STOCHASTIC, STOCHASTIC)),
    "stochastic_param": (ADAM, (STOCHASTIC, FLOAT32, FLOAT32)),
    "stochastic_states": (ADAM, (FLOAT32, STOCHASTIC, STOCHASTIC)),
    "kahan": paired("compensation", "bfloat16"),
    "kahan_float16": paired("compensation", "float16"),
    "master": paired("float32", "bfloat16"),
    "master_float16": paired("float32", "float16"),
    "master_24bit": paired("24bit", "bfloat16"),
}
every_kind = pytest.mark.parametrize("kind", EVERY_KIND)


def launched_kind(
    kind: str, sizes: Sequence[int] = SIZES, tensors: list[Tensors] | None = None, **options: Any
) -> tuple[Launched, list[Tensors]]:
    rule, formats = EVERY_KIND[kind]
    tensors = tensors or [tensors_for(rule, formats, size) for size in sizes]
    scalars = [scalars_of(BY_RULE[ADAM], 3 + t) for t in range(len(tensors))]
    keys = [noise.key_of(noise.stream(5, t), 3) for t in range(len(tensors))]
    return Launched(rule, formats, tensors, scalars, keys=keys, **options), tensors


@every_kind
def test_every_format_agrees_with_the_reference(kind: str) -> None:
    rule, formats = EVERY_KIND[kind]
    launched, tensors = launched_kind(kind)
    expected = copied(tensors)
    launched.update()
    for t, (right, key) in enumerate(zip(expected, launched.keys.tolist(), strict=True)):
        by_reference(rule, formats, right, scalars_of(BY_RULE[ADAM], 3 + t), key)
        for name, tensor in tensors[t].items():
            agree(name, tensor, right[name])


def agree(name: str, found: torch.Tensor, right: torch.Tensor) -> None:
    """To rounding: torch's root is not always the nearest number."""
    if found.dtype == torch.float32:
        torch.testing.assert_close(found, right, **TOLERANCE[torch.float32])
        return
    words = torch.int16 if found.element_size() == 2 else found.dtype
    ours, theirs = found.view(words).long(), right.view(words).long()
    if name == "compensation":  # it makes up for the parameter's last digit
        assert float((found != right).double().mean() if len(found) else 0) < 0.05
    else:
        assert int((ours - theirs).abs().max() if len(ours) else 0) <= 1, name
        assert float((ours != theirs).double().mean() if len(ours) else 0) < 0.02, name


def kept(param, grad, exp_avg, exp_avg_sq, average, sign, scale):
    """A rule that keeps what it is given: nothing but the codecs rounds."""
    grad = sign * grad
    return param, grad, scale * grad, grad


KEEP = Rule(kept, ("exp_avg", "exp_avg_sq", "average"), nonnegative=("exp_avg_sq",))
KINDS = ["usual", "zero", "denormal", "huge", "nan", "inf"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 255, 257, TILE + 300])
def test_codes_are_those_of_the_reference_to_the_bit(kind: str, size: int) -> None:
    formats = (FLOAT32, SIGNED, UNSIGNED, STOCHASTIC)
    each = tensors_for(KEEP, formats, size, spread=8.0)
    each["grad"] = each["grad"].abs()
    each["grad"] *= {"zero": 0.0, "denormal": 1e-42, "huge": 1e33}.get(kind, 1.0)
    if kind in ("nan", "inf"):
        each["grad"][size // 2] = float(kind)
    (expected,) = copied([each])
    key, scalars = 0xDEADBEEF, {"sign": 1.0, "scale": 1.0}
    Launched(KEEP, formats, [each], [scalars], keys=[key]).update()
    by_reference(KEEP, formats, expected, scalars, key)
    if kind == "nan":  # the bits of one are anybody's
        for found in (each, expected):
            found["average"] = found["average"].nan_to_num(0.0)
    if kind in ("nan", "inf"):  # the codes of a block that is NaN as a whole mean nothing
        for found in (each, expected):
            for name in ("exp_avg", "exp_avg_sq"):
                spoilt = (found[exponents_of(name)] == 255).repeat_interleave(256)[:size]
                found[name][spoilt] = 0
    same_bits([each], [expected])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@every_kind
def test_infinities_and_nan_are_where_the_reference_has_them(kind: str, sign: float) -> None:
    rule, formats = EVERY_KIND[kind]
    each = tensors_for(rule, formats, 600)
    for at, value in enumerate([torch.inf, -torch.inf, torch.nan, 0.0]):
        each["grad"][at::40] = value
        each["param"][4 + at :: 40] = value
    (expected,) = copied([each])
    scalars = {**scalars_of(BY_RULE[ADAM], 2), "sign": sign, "decay": 0.1}
    Launched(rule, formats, [each], [scalars], keys=[3]).update()
    by_reference(rule, formats, expected, scalars, 3)
    for found in (each, expected):
        for name in [n for n in found if exponents_of(n) in found]:
            signed = formats[1 + rule.states.index(name)].signed
            found[name] = reference.codes.decoded(found[name], found[exponents_of(name)], signed)
    for name, tensor in each.items():
        assert torch.equal(tensor.isnan(), expected[name].isnan()), name
        if name != "compensation":
            assert torch.equal(tensor.isinf(), expected[name].isinf()), name


@pytest.mark.parametrize("chunk", [TILE, 3 * TILE, 64 * TILE])
@every_kind
def test_bits_are_the_same_for_every_chunk_size(kind: str, chunk: int) -> None:
    sizes = [1, TILE, 2 * TILE + 1, 5 * TILE + 3]
    one, tensors = launched_kind(kind, sizes)
    others = copied(tensors)
    other, _ = launched_kind(kind, tensors=others, chunk=chunk)
    one.update(collect_stats=True)
    other.update(collect_stats=True)
    same_bits(tensors, others)
    same_bits([{"sums": one.statistics()}], [{"sums": other.statistics()}])


@every_kind
def test_a_part_of_a_tensor_gets_the_random_numbers_of_its_place(kind: str) -> None:
    launched, (whole,) = launched_kind(kind, [4 * TILE])
    part = {name: t[len(t) // 2 :].clone() for name, t in copied([whole])[0].items()}
    launched.update()
    other, _ = launched_kind(kind, tensors=[part], places=[2 * TILE])
    other.update()
    same_bits([{name: t[len(t) // 2 :] for name, t in whole.items()}], [part])


@every_kind
def test_tensors_may_begin_anywhere(kind: str) -> None:
    launched, tensors = launched_kind(kind, [TILE + 5, 2 * TILE])
    moved = [
        {name: torch.cat([t[:1], t])[1:] for name, t in each.items()} for each in copied(tensors)
    ]
    assert moved[0]["param"].data_ptr() % 16
    other, _ = launched_kind(kind, tensors=moved)
    launched.update(zero_grads=True)
    other.update(zero_grads=True)
    same_bits(tensors, moved)


@pytest.mark.parametrize("kind", ["plain", "codes", "master_24bit"])
def test_those_without_a_gradient_and_steps_not_taken_are_left_alone(kind: str) -> None:
    launched, tensors = launched_kind(kind, [5, 2 * TILE])
    before = copied(tensors)
    launched.decision[1] = 0
    launched.update(zero_grads=True, collect_stats=True)
    assert launched.tile_sums.isnan().all()
    same_bits(tensors, before)
    grad = tensors[0].pop("grad")
    launched, _ = launched_kind(kind, tensors=tensors)
    launched.update(zero_grads=True)
    same_bits([tensors[0], {"grad": grad}], [before[0] | {}, {"grad": before[0]["grad"]}])
    assert not torch.equal(tensors[1]["param"], before[1]["param"])


def test_gradients_are_multiplied_by_what_was_decided() -> None:
    launched, tensors = launched_kind("plain")
    others = copied(tensors)
    launched.decision[0] = 0.3
    launched.update()
    other, _ = launched_kind("plain", tensors=others)
    other.scalars[:, ADAM.scalars.index("sign")] *= 0.3
    other.update()
    same_bits(tensors, others)


@pytest.mark.parametrize("kind", ["plain", "codes", "stochastic", "kahan"])
def test_zeros_are_left_as_gradients(kind: str) -> None:
    launched, tensors = launched_kind(kind)
    others = copied(tensors)
    other, _ = launched_kind(kind, tensors=others)
    launched.update(zero_grads=True)
    other.update()
    for each, unzeroed in zip(tensors, others, strict=True):
        assert not each.pop("grad").any()
        unzeroed.pop("grad")
    same_bits(tensors, others)


def test_sixteen_bits_with_momentum_are_those_of_the_reference() -> None:
    """A rule without roots and divisions: nothing is rounded differently."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        formats = (Format(dtype),) * 2
        each = tensors_for(MOMENTUM_SGD, formats, 2 * TILE + 3)
        (expected,) = copied([each])
        scalars = scalars_of(BY_RULE[MOMENTUM_SGD], 2)
        Launched(MOMENTUM_SGD, formats, [each], [scalars]).update()
        by_reference(MOMENTUM_SGD, formats, expected, scalars, 0)
        same_bits([each], [expected])
