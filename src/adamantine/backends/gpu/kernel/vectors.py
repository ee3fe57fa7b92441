"""Numbers for rows and columns inside of kernels: read beside each element of a matrix.

Of each tensor ``matrices`` has its rows and columns (of one matrix of a batch), and the addresses
of the numbers, in what is computed with: those for rows, which go on from one matrix of a batch to
the next, and after them those for columns, which do, too.
"""

from __future__ import annotations

import triton.language as tl

from adamantine.backends.gpu.kernel.memory import places_in_tile, pointer_to
from adamantine.backends.gpu.kernel.operations import jit

ARRANGED = ("LEAD", "DOWN", "BESIDE", "PLACE", "BEHIND", "ACROSS", "RESULTS")
"""What a kernel is told, in this order (:meth:`.Arrangement.switches`)."""

_LEAD, _DOWN, _BESIDE, _PLACE, _BEHIND, _ACROSS, _RESULTS = map(tl.constexpr, range(len(ARRANGED)))


@jit
def vectors_of(matrices, tensor, ARRANGED: tl.constexpr, COMPUTE: tl.constexpr):
    """Rows, columns, and pointers to the numbers of a tensor; nothing where a rule has none."""
    found = ()
    if ARRANGED is not None:
        count: tl.constexpr = ARRANGED[_DOWN] + ARRANGED[_ACROSS]
        known = matrices + tensor * (2 + count)
        found = (tl.load(known), tl.load(known + 1))
        for i in tl.static_range(count):
            found = found + (pointer_to(tl.load(known + 2 + i), COMPUTE),)
    return found


@jit
def with_vectors(given, own, vectors, start, left, ARRANGED: tl.constexpr):
    """All arguments of a function of one element, for a tile from element `start` on."""
    rows, columns = vectors[0], vectors[1]
    places = places_in_tile()
    there = places < left
    # What is the same for a tile is counted in 64 bits, and the rest in 32.
    first_row = start // columns
    further = (start - first_row * columns).to(tl.int32) + places
    row = further // columns.to(tl.int32)
    column = further - row * columns.to(tl.int32)
    first_matrix = first_row // rows
    matrix = ((first_row - first_matrix * rows).to(tl.int32) + row) // rows.to(tl.int32)
    down = ()
    for i in tl.static_range(ARRANGED[_DOWN]):
        down = down + (tl.load(vectors[2 + i] + first_row + row, mask=there, other=0),)
    across = ()
    for i in tl.static_range(ARRANGED[_ACROSS]):
        numbers = vectors[2 + ARRANGED[_DOWN] + i] + (first_matrix + matrix) * columns
        across = across + (tl.load(numbers + column, mask=there, other=0),)
    beside = given[: ARRANGED[_LEAD]] + down[: ARRANGED[_BESIDE]] + across
    scalars = own[: ARRANGED[_PLACE]] + down[ARRANGED[_BESIDE] :] + own[ARRANGED[_BEHIND] :]
    return beside + given[ARRANGED[_LEAD] :] + scalars


@jit
def without_vectors(results, ARRANGED: tl.constexpr):
    """What is written of an update's results."""
    return results[:1] + results[ARRANGED[_RESULTS] :]
