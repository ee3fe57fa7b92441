"""The pass before an update whose scalars depend on whole tensors: sums of each tile.

They are in float64, and added up by tensor in a fixed order (:func:`.squares.totals`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.codes import opened
from adamantine.backends.gpu.kernel.memory import (
    CHUNK_COLUMNS,
    FIRST_TILE,
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
from adamantine.backends.gpu.kernel.squares import sum_of_squares
from adamantine.backends.gpu.kernel.vectors import vectors_of, with_vectors

SUMS_ARRAYS = ("addresses", "chunks", "rows", "scalars", "decision", "matrices", "tile_sums")


@triton.jit(do_not_specialize=SUMS_ARRAYS, repr=named)
def sums(
    addresses, chunks, rows, scalars, decision, matrices, tile_sums,
    NAME: tl.constexpr, OF: tl.constexpr, KIND: tl.constexpr, COUNT: tl.constexpr,
    COLUMNS: tl.constexpr, TAKEN: tl.constexpr, ELEMENTS: tl.constexpr, CODECS: tl.constexpr,
    EXPONENTS: tl.constexpr, COMPUTE: tl.constexpr, SCALARS: tl.constexpr, OWN: tl.constexpr,
    SIGN: tl.constexpr, ARRANGED: tl.constexpr,
):  # fmt: skip
    """Sum up, in each tile of a chunk, the `COUNT` terms that `OF` makes of an element.

    Of the table's tensors it takes those in the columns `TAKEN`, of the scalars `OWN`. `KIND` is
    that of :class:`adamantine.rules.Sums`.
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
        vectors = vectors_of(matrices, tensor, ARRANGED, COMPUTE)
        full = end_of_full_tiles(pointers, begin, end)
        found = tile_sums + COUNT * tl.load(chunk + FIRST_TILE)
        for start in range(begin, full, TILE_ELEMENTS):
            _sum_tile(
                pointers, exponents, start, TILE_ELEMENTS, own,
                found + COUNT * ((start - begin) // TILE_ELEMENTS), vectors,
                OF, KIND, COUNT, CODECS, COMPUTE, ARRANGED, True,
            )  # fmt: skip
        for start in range(full, end, TILE_ELEMENTS):
            _sum_tile(
                pointers, exponents, start, (end - start).to(tl.int32), own,
                found + COUNT * ((start - begin) // TILE_ELEMENTS), vectors,
                OF, KIND, COUNT, CODECS, COMPUTE, ARRANGED, False,
            )  # fmt: skip


@jit
def _sum_tile(
    pointers, exponents, start, left, own, found, vectors,
    OF: tl.constexpr, KIND: tl.constexpr, COUNT: tl.constexpr, CODECS: tl.constexpr,
    COMPUTE: tl.constexpr, ARRANGED: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    given = ()
    for i in tl.static_range(len(CODECS)):
        elements = load_tile(pointers[i], start, left, FULL)
        given = given + (opened(elements, exponents[i], start, left, CODECS[i], COMPUTE),)
    if ARRANGED is None:
        terms = OF(*(given + own))
    else:
        terms = OF(*with_vectors(given, own, vectors, start, left, ARRANGED))
    for i in tl.static_range(COUNT):
        if KIND == "count":
            ones = ((terms[i] > 0) & (places_in_tile() < left)).to(tl.int32)
            tl.store(found + i, tl.sum(tl.sum(ones, axis=1), axis=0).to(tl.float64))
        elif KIND == "squares":
            tl.store(found + i, sum_of_squares(terms[i], left))
        else:
            wide = tl.where(places_in_tile() < left, terms[i], 0.0).to(tl.float64)
            tl.store(found + i, tl.sum(tl.sum(wide, axis=1), axis=0))


DECIDE_ARRAYS = ("sums", "elements", "rows", "scalars", "decided")


@triton.jit(do_not_specialize=DECIDE_ARRAYS, repr=named)
def decide(
    sums, elements, rows, scalars, decided,
    NAME: tl.constexpr, VALUE: tl.constexpr, COUNT: tl.constexpr, SCALARS: tl.constexpr,
    NEEDED: tl.constexpr,
):  # fmt: skip
    """The scalar that a tensor's sums decide; a program a tensor.

    `VALUE` gets the sums from 0 to `COUNT`, for `COUNT` the number of elements, and above that the
    scalars.
    """
    tensor = tl.program_id(0)
    row = tl.load(rows + tensor)
    if row >= 0:
        given = ()
        for i in tl.static_range(len(NEEDED)):
            if NEEDED[i] < COUNT:
                value = tl.load(sums + tensor * COUNT + NEEDED[i])
            elif NEEDED[i] == COUNT:
                value = tl.maximum(tl.load(elements + tensor), 1).to(tl.float64)
            else:
                value = tl.load(scalars + row * SCALARS + (NEEDED[i] - COUNT - 1))
            given = given + (value,)
        tl.store(decided + tensor, VALUE(*given))
