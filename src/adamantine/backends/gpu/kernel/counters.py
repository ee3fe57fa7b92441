"""Counters that live on a device: read for a step's scalars, and moved on after it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adamantine.backends.gpu.kernel.compiling import Launch

MANY = tl.constexpr(128)
"""Counters for each program."""

_ARRAYS = ("addresses", "values", "rows", "decision", "count")


@triton.jit(do_not_specialize=_ARRAYS)
def _read(addresses, values, rows, decision, count):
    at = tl.program_id(0) * MANY + tl.arange(0, MANY)
    there = at < count
    # Of who sits out, the address may be that of the counter it had once.
    taking_part = there & (tl.load(rows + at, mask=there, other=-1) >= 0)
    address = tl.load(addresses + at, mask=there, other=0)
    pointers = address.to(tl.pointer_type(tl.float32))
    found = tl.load(pointers, mask=taking_part, other=0)
    tl.store(values + at, found.to(tl.float64), mask=there)


@triton.jit(do_not_specialize=_ARRAYS)
def _write(addresses, values, rows, decision, count):
    if tl.load(decision + 1) != 0:
        at = tl.program_id(0) * MANY + tl.arange(0, MANY)
        there = at < count
        taking_part = there & (tl.load(rows + at, mask=there, other=-1) >= 0)
        address = tl.load(addresses + at, mask=there, other=0)
        pointers = address.to(tl.pointer_type(tl.float32))
        following = tl.load(values + at, mask=there, other=0)
        tl.store(pointers, following.to(tl.float32), mask=taking_part)


@cache
def _compiled(kernel: Any) -> Launch:
    return Launch(kernel, _ARRAYS, {})


def _launch(kernel: Any, *arguments: Tensor) -> None:
    count = arguments[0].numel()
    _compiled(kernel).launch(triton.cdiv(count, MANY.value), *arguments, count)


def read_counters(addresses: Tensor, rows: Tensor) -> Tensor:
    """The float32 numbers at ``(T,)`` addresses, as float64: 0 for tensors without a row."""
    values = torch.empty(len(addresses), dtype=torch.float64, device=addresses.device)
    _launch(_read, addresses, values, rows, values)
    return values


def write_counters(addresses: Tensor, values: Tensor, rows: Tensor, decision: Tensor) -> None:
    """Round ``(T,)`` float64 `values` to where they come from, of tensors that took part.

    Those are the ones with a row, and none where `decision` says that nothing is written.
    """
    _launch(_write, addresses, values, rows, decision)
