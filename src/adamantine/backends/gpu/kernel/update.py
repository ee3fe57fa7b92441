"""The kernel around a rule: it updates all tensors of a table in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.codes import closed, opened
from adamantine.backends.gpu.kernel.memory import (
    CHUNK_COLUMNS,
    FIRST_TILE,
    GRAD,
    LENGTH,
    OFFSET,
    PLACE,
    TENSOR,
    TILE_ELEMENTS,
    end_of_full_tiles,
    load_tile,
    named,
    pointer_to,
    store_tile,
)
from adamantine.backends.gpu.kernel.operations import jit
from adamantine.backends.gpu.kernel.squares import sum_of_squares
from adamantine.backends.gpu.kernel.step_statistics import SUMS
from adamantine.backends.gpu.kernel.vectors import vectors_of, with_vectors, without_vectors

_SUMS = tl.constexpr(SUMS)

ARRAYS = (
    *("addresses", "chunks", "rows", "keys", "scalars"),
    *("decision", "decided", "matrices", "tile_sums"),
)


@triton.jit(do_not_specialize=ARRAYS, repr=named)
def update(
    addresses, chunks, rows, keys, scalars, decision, decided, matrices, tile_sums,
    NAME: tl.constexpr, RULE: tl.constexpr, NUMBER: tl.constexpr, ELEMENTS: tl.constexpr,
    CODECS: tl.constexpr, EXPONENTS: tl.constexpr, COMPUTE: tl.constexpr, SCALARS: tl.constexpr,
    SIGN: tl.constexpr, DECIDED: tl.constexpr, ZERO_GRADS: tl.constexpr,
    COLLECT_STATS: tl.constexpr, ARRANGED: tl.constexpr,
):  # fmt: skip
    """Run `RULE` once on the elements of a chunk.

    Of a table's columns, `ELEMENTS` says what they are in memory. `CODECS` are those of parameter,
    gradient and states, which come first; `EXPONENTS` the column of the exponents of each. `SIGN`
    and `DECIDED` are the scalars that others have a say in. `NUMBER` is None, or makes one number
    of a parameter and its last state. `ARRANGED` is None, or says which arguments are for rows and
    columns (:mod:`.vectors`).
    """
    chunk = chunks + CHUNK_COLUMNS * tl.program_id(0).to(tl.int64)
    tensor = tl.load(chunk + TENSOR)
    row = tl.load(rows + tensor)
    if (row >= 0) & (tl.load(decision + 1) != 0):
        begin = tl.load(chunk + OFFSET)
        end = begin + tl.load(chunk + LENGTH)
        moved = tl.load(chunk + PLACE) - begin
        key = tl.load(keys + tensor)
        own = _own_scalars(scalars, decision, decided, tensor, row, SCALARS, SIGN, DECIDED, COMPUTE)
        pointers = ()
        for i in tl.static_range(len(ELEMENTS)):
            address = tl.load(addresses + tensor * len(ELEMENTS) + i)
            pointers = pointers + (pointer_to(address, ELEMENTS[i]),)
        vectors = vectors_of(matrices, tensor, ARRANGED, COMPUTE)
        full = end_of_full_tiles(pointers[: len(CODECS)], begin, end)
        sums = tile_sums + _SUMS * tl.load(chunk + FIRST_TILE)
        for start in range(begin, full, TILE_ELEMENTS):
            _update_tile(
                pointers, start, TILE_ELEMENTS, key, start + moved, own,
                sums + _SUMS * ((start - begin) // TILE_ELEMENTS),
                vectors, RULE, NUMBER, ELEMENTS, CODECS, EXPONENTS, COMPUTE, ZERO_GRADS,
                COLLECT_STATS, ARRANGED, True,
            )  # fmt: skip
        for start in range(full, end, TILE_ELEMENTS):
            _update_tile(
                pointers, start, (end - start).to(tl.int32), key, start + moved, own,
                sums + _SUMS * ((start - begin) // TILE_ELEMENTS),
                vectors, RULE, NUMBER, ELEMENTS, CODECS, EXPONENTS, COMPUTE, ZERO_GRADS,
                COLLECT_STATS, ARRANGED, False,
            )  # fmt: skip


@jit
def _own_scalars(
    scalars, decision, decided, tensor, row,
    SCALARS: tl.constexpr, SIGN: tl.constexpr, DECIDED: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tensor's scalars, as numbers to compute with."""
    own = ()
    for i in tl.static_range(SCALARS):
        value = tl.load(decided + tensor) if i == DECIDED else tl.load(scalars + row * SCALARS + i)
        if i == SIGN:
            value = value * tl.load(decision)
        own = own + (value.to(COMPUTE),)
    return own


@jit
def _update_tile(
    pointers, start, left, key, place, own, sums, vectors,
    RULE: tl.constexpr, NUMBER: tl.constexpr, ELEMENTS: tl.constexpr, CODECS: tl.constexpr,
    EXPONENTS: tl.constexpr, COMPUTE: tl.constexpr, ZERO_GRADS: tl.constexpr,
    COLLECT_STATS: tl.constexpr, ARRANGED: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    given = ()
    for i in tl.static_range(len(CODECS)):
        elements = load_tile(pointers[i], start, left, FULL)
        exponents = pointers[EXPONENTS[i]]
        given = given + (opened(elements, exponents, start, left, CODECS[i], COMPUTE),)
    if ARRANGED is None:
        results = RULE(*(given + own))
    else:
        results = without_vectors(
            RULE(*with_vectors(given, own, vectors, start, left, ARRANGED)), ARRANGED
        )
    held = ()  # what of the parameter is in memory now
    for i in tl.static_range(len(CODECS)):
        if i != GRAD:
            # The parameter's random bits come after those of all states.
            elements = closed(
                results[0] if i == 0 else results[i - 1],
                pointers[EXPONENTS[i]], start, left, key, place,
                CODECS[i], ELEMENTS[i], len(CODECS) - 2 if i == 0 else i - 2,
            )  # fmt: skip
            store_tile(pointers[i], start, elements, left, FULL)
            if COLLECT_STATS and (i == 0 or (NUMBER is not None and i == len(CODECS) - 1)):
                held = held + (opened(elements, pointers[0], start, left, CODECS[i], COMPUTE),)
    if ZERO_GRADS:
        # Zeros depend on nothing: another thread than the one that reads an element may write it.
        tl.debug_barrier()
        zeros = tl.zeros_like(given[GRAD]).to(ELEMENTS[GRAD])
        store_tile(pointers[GRAD], start, zeros, left, FULL)
    if COLLECT_STATS:
        if NUMBER is None:
            before, after = given[0], held[0]
        else:
            before, after = NUMBER(given[0], given[len(CODECS) - 1]), NUMBER(held[0], held[1])
        tl.store(sums, sum_of_squares(given[GRAD], left))
        tl.store(sums + 1, sum_of_squares(after - before, left))
        tl.store(sums + 2, sum_of_squares(after, left))
        # Places beyond the end hold zeros.
        nonfinite = tl.where(tl.abs(given[GRAD]) < float("inf"), 0, 1)
        tl.store(sums + 3, tl.sum(tl.sum(nonfinite, axis=1), axis=0).to(tl.float64))
