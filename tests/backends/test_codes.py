"""Codecs on whole tensors, by torch and compiled, for every kind of block."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import Tensor

from adamantine.backends import codes, reference
from adamantine.backends.cpu.table.table import Table
from adamantine.backends.formats import CODES, Format, exponents_of
from adamantine.codecs import blocks, int8, noise
from adamantine.codecs.blocks import BLOCK
from adamantine.codecs.ops import bits, number
from adamantine.rules import Rule

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17, 9001]
KEY = 0xDEADBEEF


def filled(kind: str, size: int, signed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, generator=generator)
    values = values * torch.exp2(8 * torch.randn(size, generator=generator))
    values = values if signed else values.abs()
    scale = {"denormal": 1e-42, "huge": 1e35, "zero": 0.0, "even": 0.0}.get(kind, 1.0)
    if kind in ("denormal", "huge"):
        values = values / values.abs().max().clamp(min=1) * 1000 if size else values
    values = values * scale
    if kind == "even":
        values = torch.ones(size)
    if kind in ("nan", "inf") and size:
        values[size // 2] = float(kind)
    return values


KINDS = ["usual", "zero", "even", "denormal", "huge", "nan", "inf"]
every_block = pytest.mark.parametrize(("kind", "size"), list(product(KINDS, SIZES)))


def brute_force(values: Tensor, signed: bool, consumer: int) -> tuple[list[int], list[float]]:
    """Exponents, and decoded values, one element after the other."""
    margin = int8.SIGNED_MARGIN if signed else int8.UNSIGNED_MARGIN
    taken = noise.second if consumer % 2 else noise.first
    exponents, decoded = [], []
    line = values.tolist()
    for begin in range(0, len(line), BLOCK):
        block = line[begin : begin + BLOCK]
        top = max(bits(abs(x)) for x in block)
        exponent = blocks.exponent_of(top, margin)
        exponents.append(exponent)
        scale = blocks.scale_of(exponent)
        for index, x in enumerate(block, begin):
            if exponent in (0, 255):
                decoded.append(0.0 if exponent == 0 else float("nan"))
                continue
            random = taken(noise.bits_at(KEY, index, noise.MULTIPLIERS[consumer // 2]))
            inverse = blocks.inverse_of(exponent)
            if signed:
                shifted = number(bits(number(bits(abs(x) * inverse)) + 2.0**-15))
                code = (bits(shifted) + random) >> 20 & 0x7F | (bits(x) >> 24 & 0x80)
                decoded.append(int8.decode_signed(code, scale))
            else:
                decoded.append(
                    int8.decode_unsigned(int8.encode_unsigned(x, inverse, random), scale)
                )
    return exponents, decoded


@every_block
@pytest.mark.parametrize("signed", [True, False])
def test_torch_agrees_with_brute_force(kind: str, size: int, signed: bool) -> None:
    values = filled(kind, size, signed)
    for consumer in (0, 3):
        kept, exponents = codes.empty_codes(values)
        codes.encode(values, kept, exponents, signed, KEY, consumer)
        expected_exponents, expected = brute_force(values, signed, consumer)
        assert exponents.tolist() == expected_exponents
        found = codes.decoded(kept, exponents, signed)
        torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=0, equal_nan=True)


def copied(param, grad, exp_avg, exp_avg_sq, average, sign, step_size):
    """A rule that keeps what it is given, so that nothing but the codecs rounds."""
    grad = sign * grad
    return param, grad, grad, grad


COPY = Rule(copied, ("exp_avg", "exp_avg_sq", "average"), nonnegative=("exp_avg_sq",))
HALF = Format(torch.bfloat16, stochastic=True)
FORMATS = (Format(torch.float32), Format(CODES), Format(CODES, signed=False), HALF)


@torch.no_grad()
def kept_by(backend: str, values: Tensor, threads: int = 1) -> dict[str, Tensor]:
    param = torch.nn.Parameter(torch.zeros_like(values))
    state: dict[str, Tensor] = {
        "step": torch.tensor(6.0),
        "average": torch.zeros_like(values).bfloat16(),
    }
    for name in ("exp_avg", "exp_avg_sq"):
        state[name], state[exponents_of(name)] = codes.empty_codes(values)
    stream = noise.stream(5, 2)
    if backend == "reference":
        key = noise.key_of(stream, 7)
        reference.update_kept(
            COPY, FORMATS, param, values, state, {"sign": 1.0, "step_size": 0.0}, key
        )
        state["step"] += 1
    else:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        table = Table(COPY, FORMATS, [param], [state], ["step"], [False], [0], [stream], "Copy")
        table._shares = threads  # small, but to be shared out all the same
        assert table.refresh([values])
        table.run(lambda group, step: {"sign": 1.0, "step_size": 0.0})
        torch.set_num_threads(before)
    return state


@every_block
def test_the_kernel_has_the_same_bits(kind: str, size: int) -> None:
    values = filled(kind, size, signed=False)
    ours, theirs = kept_by("cpu", values), kept_by("reference", values)
    for name in ours:
        if kind in ("nan", "inf") and name.startswith("exp"):
            continue  # codes of a block that is NaN as a whole mean nothing
        if kind == "nan" and name == "average":
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True)
        else:
            assert torch.equal(ours[name], theirs[name]), name
    for name in ("exp_avg", "exp_avg_sq"):
        decoded = [
            codes.decoded(s[name], s[exponents_of(name)], signed=name == "exp_avg")
            for s in (ours, theirs)
        ]
        torch.testing.assert_close(*decoded, rtol=0, atol=0, equal_nan=True)


def test_codes_are_the_same_for_any_number_of_threads() -> None:
    values = filled("usual", 300_001, signed=False)
    one, two = (kept_by("cpu", values, threads) for threads in (1, 2))
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_a_nan_of_any_bits_stays_one_in_bfloat16() -> None:
    patterns = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000], np.uint32)
    values = torch.from_numpy(patterns.view(np.float32).copy()).repeat(5)
    for backend in ("cpu", "reference"):
        assert kept_by(backend, values)["average"].isnan().all()


@pytest.mark.slow
def test_a_sum_of_ten_thousand_roundings_is_unbiased() -> None:
    """Each step rounds the same values; the errors' means lie where the central limit says."""
    values = torch.linspace(0.1, 1, 500)
    steps = 10_000
    for signed in (True, False):
        total, squares = (
            torch.zeros(500, dtype=torch.float64),
            torch.zeros(500, dtype=torch.float64),
        )
        stream = noise.stream(1, 1)
        kept, exponents = codes.empty_codes(values)
        # Half of them from each consumer's bits.
        for step in range(1, steps // 2 + 1):
            for consumer in (0, 1):
                codes.encode(values, kept, exponents, signed, noise.key_of(stream, step), consumer)
                error = codes.decoded(kept, exponents, signed).double() - values.double()
                total += error
                squares += error**2
        z = total / squares.sqrt().clamp(min=1e-12)
        # 500 standard normal numbers: the largest is below 4.5 but once in 300 such tests.
        assert float(z.abs().max()) < 4.5
        assert float(z.mean().abs()) < 4.5 / 500**0.5
        assert 0.8 < float(z.std()) < 1.2


def test_strides_keep_the_order_of_memory() -> None:
    image = torch.randn(2, 3, 20, 7).to(memory_format=torch.channels_last)
    kept, exponents = codes.empty_codes(image)
    assert kept.stride() == image.stride()
    codes.encode(image, kept, exponents, True, KEY, 0)
    line = image.permute(0, 2, 3, 1).reshape(-1)
    flat, flat_exponents = codes.empty_codes(line)
    codes.encode(line, flat, flat_exponents, True, KEY, 0)
    assert torch.equal(kept.permute(0, 2, 3, 1).reshape(-1), flat)
    assert torch.equal(exponents, flat_exponents)


def test_sizes_are_as_they_should_be() -> None:
    for size in SIZES:
        kept, exponents = codes.empty_codes(torch.zeros(size))
        assert len(kept) == size
        assert len(exponents) == codes.block_count(size)
    assert all(a <= b for a, b in pairwise(map(codes.block_count, SIZES)))
