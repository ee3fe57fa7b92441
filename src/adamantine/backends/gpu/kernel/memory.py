"""What elements are in memory.

Kernels walk over tiles: `TILE` elements, as rows of a block of codes each. Chunks are whole tiles
except where a tensor ends, so that nothing depends on how long they are.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl

from adamantine.backends.formats import CODES, OFFSETS, Format
from adamantine.backends.gpu.kernel.operations import jit
from adamantine.codecs import blocks

TILE = 1_024
"""Elements: two of the widest loads a thread, of each float32 tensor."""

TILE_ELEMENTS = tl.constexpr(TILE)
BLOCK = tl.constexpr(blocks.BLOCK)
BLOCKS = tl.constexpr(TILE // blocks.BLOCK)
"""Of a tile."""

WIDEST = tl.constexpr(16)
"""Bytes of the widest load; its address is a multiple of them."""

CHUNK_COLUMNS = tl.constexpr(5)
TENSOR, OFFSET, LENGTH, PLACE, FIRST_TILE = map(tl.constexpr, range(5))
"""Of chunks: the place of their first element in the tensor that theirs is a part of, for random
numbers; and which of all tiles its first one is."""

GRAD = tl.constexpr(1)
"""Its column, after the parameter's and before those of states and exponents."""

_ELEMENTS = {
    torch.float32: tl.float32,
    torch.float64: tl.float64,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    CODES: tl.uint8,
    OFFSETS: tl.int8,
}


def element_of(kept: Format) -> tl.dtype:
    """What an element of a format is in memory."""
    return _ELEMENTS[kept.dtype] if kept.plain or kept.coded else tl.uint16


def compute_of(param: Format) -> tl.dtype:
    """What a rule computes in, as on the CPU: float64 for float64 parameters, else float32."""
    return tl.float64 if param.dtype == torch.float64 else tl.float32


def named(specialization: Any) -> str:
    """The name of a kernel, as profilers show it."""
    return str(specialization.constants["NAME"])


@jit
def places_in_tile():
    """Where in a tile each of its elements is."""
    return tl.arange(0, BLOCKS)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]


@jit
def pointer_to(address, ELEMENT: tl.constexpr):
    return address.to(tl.pointer_type(ELEMENT))


@jit
def load_tile(pointer, start, left, FULL: tl.constexpr):
    """The tile from element `start` on, of which `left` elements are there, zeros in the others.

    `FULL` says that all of them are, and that its address is a multiple of `WIDEST`: a load that
    is masked, or could lie elsewhere, would be of one element.
    """
    if FULL:
        return tl.load(tl.multiple_of(pointer + start, WIDEST) + places_in_tile())
    else:
        places = places_in_tile()
        return tl.load(pointer + start + places, mask=places < left, other=0)


@jit
def store_tile(pointer, start, elements, left, FULL: tl.constexpr):
    """Write what is there of a tile; see :func:`load_tile`."""
    if FULL:
        tl.store(tl.multiple_of(pointer + start, WIDEST) + places_in_tile(), elements)
    else:
        places = places_in_tile()
        tl.store(pointer + start + places, elements, mask=places < left)


@jit
def end_of_full_tiles(pointers, begin, end):
    """Up to where tiles from `begin` on are `FULL` for all tensors."""
    together = begin - begin
    for i in tl.static_range(len(pointers)):
        together = together | (pointers[i] + begin).to(tl.int64)
    return tl.where(together % WIDEST == 0, end - (end - begin) % TILE_ELEMENTS, begin)
