"""The codecs on whole tensors, by torch: any device, and the oracle of the compiled ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.formats import CODES, OFFSETS
from adamantine.backends.huge_pages import ask_for_large_pages
from adamantine.backends.layout import has_own_dispatch
from adamantine.codecs import bfloat16, bits24, blocks, int8, noise, ops
from adamantine.codecs.blocks import BLOCK
from adamantine.rules import bind

_MASK = 0xFFFFFFFF


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.int32).to(torch.int64) & _MASK


def _number(i: Any) -> Any:
    return i.to(torch.int32).view(torch.float32) if isinstance(i, Tensor) else ops.number(i)


def _low(i: Any) -> Any:
    return i.to(torch.int64) & _MASK if isinstance(i, Tensor) else ops.low(i)


def _choose(condition: Tensor, x: Any, y: Any) -> Tensor:
    return torch.where(condition, x, y)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "bits": _bits,
    "number": _number,
    "low": _low,
    "choose": _choose,
}
"""What the names of `codecs.ops` stand for."""


@cache
def _bound(function: Any) -> Any:
    return bind(function, OPERATIONS)


def block_count(elements: int) -> int:
    """How many blocks there are, the last one perhaps not full."""
    return -(-elements // BLOCK)


def decoded(codes: Tensor, exponents: Tensor, signed: bool) -> Tensor:
    """The float32 values of codes, laid out as they are."""
    scales = _bound(blocks.scale_of)(exponents)
    by_element = scales.repeat_interleave(BLOCK)[: codes.numel()]
    decode = _bound(int8.decode_signed if signed else int8.decode_unsigned)
    values = torch.empty_like(codes, dtype=torch.float32)
    _line(values).copy_(decode(_line(codes), by_element))
    return values


def encode(
    values: Tensor,
    codes: Tensor,
    exponents: Tensor,
    signed: bool,
    key: int | None = None,
    consumer: int = 0,
    places: Tensor | None = None,
) -> None:
    """Write the codes of `values`, and their blocks' exponents.

    With a `key`, the step's, rounding is stochastic, and `consumer` says which of an element's
    random bits it takes; without one it is to nearest. `places` are those of the elements in the
    tensor that they are a part of, where they are.
    """
    line = _line(torch.empty_like(codes, dtype=torch.float32).copy_(values))
    padded = torch.nn.functional.pad(line, (0, -len(line) % BLOCK)).view(-1, BLOCK)
    tops = _bits(padded.abs()).amax(1)
    margin = int8.SIGNED_MARGIN if signed else int8.UNSIGNED_MARGIN
    found = _bound(blocks.exponent_of)(tops, margin)
    inverse = _bound(blocks.inverse_of)(found).repeat_interleave(BLOCK)[: len(line)]
    encoder = _bound(int8.encode_signed if signed else int8.encode_unsigned)
    _line(codes).copy_(encoder(line, inverse, _random(line, key, consumer, places)))
    exponents.copy_(found)


def stochastic_bfloat16(
    values: Tensor, key: int, consumer: int, places: Tensor | None = None
) -> Tensor:
    """Values in bfloat16, rounded stochastically, laid out as they are."""
    laid_out = torch.empty_like(values, dtype=torch.float32).copy_(values)
    line = _line(laid_out)
    code = _bound(bfloat16.encode_bfloat16)(line, _random(line, key, consumer, places))
    _line(laid_out).copy_(_bound(bfloat16.decode_bfloat16)(code))
    return laid_out.bfloat16()


def master_in(dtype: torch.dtype, master: Tensor, param: Tensor) -> Tensor:
    """The master of a 16-bit parameter in float32, or as the bytes of 24 bits."""
    if master.dtype == dtype:
        return master
    upper = param.detach().float()
    if master.dtype == OFFSETS:
        master = _bound(bits24.joined)(upper, master)
    if dtype == OFFSETS:
        master = _bound(bits24.offset_beside)(master.float(), upper)
    return master.to(dtype)


def _random(line: Tensor, key: int | None, consumer: int, places: Tensor | None) -> Any:
    if key is None:
        return noise.NEAREST
    multiplier = noise.MULTIPLIERS[consumer // 2]
    index = torch.arange(len(line), device=line.device) if places is None else places
    h = _bound(noise.bits_at)(key, index, multiplier)
    return _bound(noise.second if consumer % 2 else noise.first)(h)


def _line(dense: Tensor) -> Tensor:
    """All elements in the order of memory."""
    return dense.as_strided((dense.numel(),), (1,))


def empty_codes(param: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of zeros in the layout of `param`, and their exponents."""
    codes = torch.empty_like(param, dtype=CODES, requires_grad=False)
    if not has_own_dispatch(codes):
        ask_for_large_pages(codes)
    return codes.zero_(), codes.new_zeros(block_count(param.numel()))
