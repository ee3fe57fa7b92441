"""Operations and codecs in Triton, against plain Python's on single numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.operations import OPERATIONS, bound
from adamantine.codecs import bits24
from adamantine.rules import ops

EDGES = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1e-40, 3.4e38, 65504.0,
         65520.0, 65519.0, 1.00390625, 1.01171875, 2.5e-8, 6e-8, 0.1, -7.25]  # fmt: skip


@triton.jit
def _apply_one(x, out, F: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, F(tl.load(x + at)).to(out.dtype.element_ty))


@triton.jit
def _apply_two(x, y, out, F: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, F(tl.load(x + at), tl.load(y + at)).to(out.dtype.element_ty))


def padded(numbers: list[float], dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor((numbers * 64)[:64], dtype=dtype)


def same(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=found.dtype), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("name", ["sqrt", "absolute", "signum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operations_of_one_number(name: str, dtype: torch.dtype) -> None:
    x = padded(EDGES, dtype)
    out = torch.empty_like(x)
    _apply_one[(1,)](x, out, OPERATIONS[name], 64)
    same(out, [getattr(ops, name)(v) for v in x.tolist()])


@pytest.mark.parametrize("name", ["as_bfloat16", "as_float16"])
def test_rounding_to_sixteen_bits(name: str) -> None:
    random = np.random.default_rng(0).integers(0, 1 << 32, 4096, dtype=np.uint32).view(np.float32)
    ties = np.arange(0x3F7F8000, 0x3F850000, 0x4000, dtype=np.uint32).view(np.float32)
    x = torch.from_numpy(np.concatenate([np.array(EDGES, np.float32), ties, random])[:4096].copy())
    out = torch.empty_like(x)
    _apply_one[(1,)](x, out, OPERATIONS[name], 4096)
    same(out, [getattr(ops, name)(v) for v in x.tolist()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maximum(dtype: torch.dtype) -> None:
    pairs = [(a, b) for a in EDGES[:8] for b in EDGES[:8]]
    x, y = (torch.tensor(column, dtype=dtype) for column in zip(*pairs, strict=True))
    out = torch.empty_like(x)
    _apply_two[(1,)](x, y, out, OPERATIONS["maximum"], 64)
    same(out, [ops.maximum(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)])


@triton.jit
def _choose_by(x, y, out, WHERE: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    one = tl.load(x + at)
    tl.store(out + at, WHERE(tl.load(y + at), one, one * 0 + 5))


def test_neither_side_of_where_leaks_into_the_other() -> None:
    x, y = padded(EDGES, torch.float32), padded([0.0, 1.0, math.nan, -0.0], torch.float32)
    out = torch.empty_like(x)
    _choose_by[(1,)](x, torch.ones(64), out, OPERATIONS["where"], 64)
    same(out, x.tolist())
    _choose_by[(1,)](x, y, out, OPERATIONS["where"], 64)
    expected = [ops.where(c, v, v * 0 + 5) for c, v in zip(y.tolist(), x.tolist(), strict=True)]
    same(out, expected)


def words(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32)


def test_bits_of_a_float() -> None:
    given = np.concatenate([words(4000), np.array([0x80000000, 0x7FC00001], np.uint32)])
    given = np.resize(given, 4096)
    x = torch.from_numpy(given.view(np.float32).copy())
    out = torch.empty(4096, dtype=torch.int64)
    _apply_one[(1,)](x, out, OPERATIONS["bits"], 4096)
    assert out.tolist() == given.tolist()


@pytest.mark.parametrize("function", [bits24.upper_of, bits24.offset_of], ids=lambda f: f.__name__)
def test_24_bits_bit_by_bit(function) -> None:
    x = torch.from_numpy(words(1024).view(np.float32).copy())
    x = x[~x.isnan()].repeat(2)[:1024]
    out = torch.empty(1024, dtype=torch.float32 if function is bits24.upper_of else torch.int8)
    _apply_one[(1,)](x, out, bound(function), 1024)
    same(out.double(), [float(function(v)) for v in x.tolist()])
