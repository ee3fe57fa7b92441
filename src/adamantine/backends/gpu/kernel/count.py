"""The pass before an update whose scalars depend on whole tensors.

Counts are integers, and so the same in whatever order programs add them up.
"""

from __future__ import annotations

import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.codes import opened
from adamantine.backends.gpu.kernel.memory import (
    BLOCK,
    BLOCKS,
    CHUNK_COLUMNS,
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
from adamantine.backends.gpu.kernel.operations import jit

COUNT_ARRAYS = ("addresses", "chunks", "rows", "scalars", "decision", "counts")


@triton.jit(do_not_specialize=COUNT_ARRAYS, repr=named)
def count(
    addresses, chunks, rows, scalars, decision, counts,
    NAME: tl.constexpr, HOLDS: tl.constexpr, COLUMNS: tl.constexpr, TAKEN: tl.constexpr,
    ELEMENTS: tl.constexpr, CODECS: tl.constexpr, EXPONENTS: tl.constexpr, COMPUTE: tl.constexpr,
    SCALARS: tl.constexpr, OWN: tl.constexpr, SIGN: tl.constexpr,
):  # fmt: skip
    """Add, to each tensor's count, how many elements of a chunk have the property `HOLDS`.

    Of the table's tensors it takes those in the columns `TAKEN`, of the scalars `OWN`.
    """
    chunk = chunks + CHUNK_COLUMNS * tl.program_id(0).to(tl.int64)
    tensor = tl.load(chunk + TENSOR)
    row = tl.load(rows + tensor)
    if (row >= 0) & (tl.load(decision + 1) != 0):
        begin = tl.load(chunk + OFFSET)
        end = begin + tl.load(chunk + LENGTH)
        own = ()
        for i in tl.static_range(len(OWN)):
            value = tl.load(scalars + row * SCALARS + OWN[i])
            if OWN[i] == SIGN:
                value = value * tl.load(decision)
            own = own + (value.to(COMPUTE),)
        pointers = ()
        exponents = ()
        for i in tl.static_range(len(TAKEN)):
            columns = addresses + tensor * COLUMNS
            pointers = pointers + (pointer_to(tl.load(columns + TAKEN[i]), ELEMENTS[i]),)
            exponents = exponents + (pointer_to(tl.load(columns + EXPONENTS[i]), tl.uint8),)
        full = end_of_full_tiles(pointers, begin, end)
        found = tl.zeros((BLOCKS, BLOCK), tl.int32)
        for start in range(begin, full, TILE_ELEMENTS):
            found += _count_tile(
                pointers, exponents, start, TILE_ELEMENTS, own, HOLDS, CODECS, COMPUTE, True
            )
        for start in range(full, end, TILE_ELEMENTS):
            found += _count_tile(
                pointers,
                exponents,
                start,
                (end - start).to(tl.int32),
                own,
                HOLDS,
                CODECS,
                COMPUTE,
                False,
            )
        total = tl.sum(tl.sum(found, axis=1), axis=0)
        tl.atomic_add(counts + tensor, total.to(tl.int64))


@jit
def _count_tile(
    pointers, exponents, start, left, own,
    HOLDS: tl.constexpr, CODECS: tl.constexpr, COMPUTE: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    given = ()
    for i in tl.static_range(len(CODECS)):
        elements = load_tile(pointers[i], start, left, FULL)
        given = given + (opened(elements, exponents[i], start, left, CODECS[i], COMPUTE),)
    holds = HOLDS(*(given + own)) > 0
    return (holds & (places_in_tile() < left)).to(tl.int32)


DECIDE_ARRAYS = ("counts", "elements", "shares")


@triton.jit(do_not_specialize=DECIDE_ARRAYS, repr=named)
def decide(counts, elements, shares, NAME: tl.constexpr, VALUE: tl.constexpr):
    """The scalar that the share of a tensor's elements decides; a program a tensor."""
    tensor = tl.program_id(0)
    of = tl.maximum(tl.load(elements + tensor), 1).to(tl.float64)
    tl.store(shares + tensor, VALUE(tl.load(counts + tensor).to(tl.float64) / of))
