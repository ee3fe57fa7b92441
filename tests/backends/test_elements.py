"""Sixteen-bit floats in compiled code: every pattern, every kind of rounding, against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numba import njit

from adamantine.backends.cpu.compiling.elements import ELEMENTS, read, supported, write

HALVES = [
    pytest.param(dtype, id=str(dtype))
    for dtype in (torch.bfloat16, torch.float16)
    if dtype in supported()
]


@njit
def decode(bits, values):  # type: ignore[no-untyped-def]
    for i in range(len(bits)):
        values[i] = read(bits, i)


@njit
def encode(values, bits):  # type: ignore[no-untyped-def]
    for i in range(len(bits)):
        write(bits, i, values[i])


def as_integers(tensor: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    return tensor.view(torch.int16).numpy().view(type(ELEMENTS[dtype].sample))


@pytest.mark.parametrize("dtype", HALVES)
def test_every_pattern_is_read_as_torch_reads_it(dtype: torch.dtype) -> None:
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    values = np.empty(2**16, np.float32)
    decode(as_integers(patterns, dtype), values)
    assert torch.equal(torch.from_numpy(values).nan_to_num(7.0), patterns.float().nan_to_num(7.0))
    assert (np.isnan(values) == patterns.isnan().numpy()).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_values_are_rounded_as_torch_rounds_them(dtype: torch.dtype) -> None:
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).float()
    finite = patterns[patterns.isfinite()].sort().values.double()
    ties = ((finite[1:] + finite[:-1]) / 2).float()
    neighbours = [torch.nextafter(ties, torch.tensor(side)) for side in (math.inf, -math.inf)]
    noise = torch.randint(-(2**31), 2**31 - 1, (200_000,), dtype=torch.int32).view(torch.float32)
    special = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 3.4e38, -3.4e38, 65_520.0])
    values = torch.cat([patterns, ties, *neighbours, noise, special])
    bits = np.empty(len(values), type(ELEMENTS[dtype].sample))
    encode(values.numpy(), bits)
    ours = torch.from_numpy(bits.view(np.int16)).view(dtype)
    theirs = values.to(dtype)
    assert (ours.isnan() == theirs.isnan()).all()
    number = ~theirs.isnan()
    assert torch.equal(ours[number].view(torch.int16), theirs[number].view(torch.int16))
