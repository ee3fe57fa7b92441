"""Sums of squares, in float64: by tile, and then by tensor, always in the same order.

The square of every float32, finite or denormal, has a place in float64.
"""

from __future__ import annotations

import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.memory import (
    CHUNK_COLUMNS,
    FIRST_TILE,
    GRAD,
    LENGTH,
    OFFSET,
    TENSOR,
    TILE_ELEMENTS,
    end_of_full_tiles,
    load_tile,
    named,
    places_in_tile,
    pointer_to,
)
from adamantine.backends.gpu.kernel.operations import jit, widened

SQUARES_ARRAYS = ("addresses", "columns", "chunks", "rows", "tile_sums")


@jit
def sum_of_squares(values, left):
    """Of what is there of a tile."""
    wide = tl.where(places_in_tile() < left, values, 0.0).to(tl.float64)
    return tl.sum(tl.sum(wide * wide, axis=1), axis=0)


@triton.jit(do_not_specialize=SQUARES_ARRAYS, repr=named)
def squares(addresses, columns, chunks, rows, tile_sums, NAME: tl.constexpr, ELEMENT: tl.constexpr):
    """Of each tile of the gradients, which are the second of a table's `columns`."""
    chunk = chunks + CHUNK_COLUMNS * tl.program_id(0).to(tl.int64)
    tensor = tl.load(chunk + TENSOR)
    if tl.load(rows + tensor) >= 0:
        begin = tl.load(chunk + OFFSET)
        end = begin + tl.load(chunk + LENGTH)
        pointer = pointer_to(tl.load(addresses + tensor * columns + GRAD), ELEMENT)
        sums = tile_sums + tl.load(chunk + FIRST_TILE)
        full = end_of_full_tiles((pointer,), begin, end)
        for start in range(begin, full, TILE_ELEMENTS):
            values = widened(load_tile(pointer, start, TILE_ELEMENTS, True))
            found = sum_of_squares(values, TILE_ELEMENTS)
            tl.store(sums + (start - begin) // TILE_ELEMENTS, found)
        for start in range(full, end, TILE_ELEMENTS):
            left = (end - start).to(tl.int32)
            found = sum_of_squares(widened(load_tile(pointer, start, left, False)), left)
            tl.store(sums + (start - begin) // TILE_ELEMENTS, found)


TOGETHER = tl.constexpr(1_024)
"""Tiles that are added at once."""

TOTALS_ARRAYS = ("tiles", "rows", "tile_sums", "sums")


@triton.jit(do_not_specialize=TOTALS_ARRAYS, repr=named)
def totals(tiles, rows, tile_sums, sums, NAME: tl.constexpr, COUNT: tl.constexpr):
    """Add up the `COUNT` sums of each of a tensor's tiles; a program for each tensor and sum.

    0 for tensors that sit the step out. Tensor t has the tiles from ``tiles[t]`` to
    ``tiles[t + 1]``.
    """
    tensor, which = tl.program_id(0), tl.program_id(1)
    total = tl.zeros((TOGETHER,), tl.float64)
    if tl.load(rows + tensor) >= 0:
        end = tl.load(tiles + tensor + 1)
        for tile in range(tl.load(tiles + tensor), end, TOGETHER):
            at = tile + tl.arange(0, TOGETHER)
            total += tl.load(tile_sums + at * COUNT + which, mask=at < end, other=0.0)
    tl.store(sums + tensor * COUNT + which, tl.sum(total, axis=0))
