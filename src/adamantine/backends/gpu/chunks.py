"""How a table's tensors are cut into chunks, one for each program of a launch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamantine.backends.shards import Stretches, ranges

PROGRAMS_PER_PROCESSOR = 16
"""So many that the last one, for which all others wait, is short."""

LARGEST = 64
"""Tiles of a chunk."""


def chunk_elements(elements: int, tile: int, processors: int) -> int:
    """Elements for each program: few enough to give a small model's to all processors."""
    programs = PROGRAMS_PER_PROCESSOR * processors
    return tile * min(LARGEST, max(1, -(-elements // (programs * tile))))


def cut(
    sizes: Sequence[int], stretches: Sequence[Stretches | None], chunk: int, tile: int
) -> NDArray[np.int64]:
    """Chunks, as rows of (tensor, offset, length, place, first tile).

    Parameters
    ----------
    sizes
        Elements of each tensor.
    stretches
        Of those that are parts of others, where they lie in them.
    chunk
        Elements, whole tiles.
    tile
        Elements.

    Returns
    -------
    array
        ``(chunks, 5)``. The place is that of the first element in the tensor that this is a part
        of; tiles are numbered through all tensors.
    """
    rows = []
    for tensor, (size, found) in enumerate(zip(sizes, stretches, strict=True)):
        for begin, end, start in ranges(size, found):
            offsets = np.arange(begin, end, chunk, dtype=np.int64)
            lengths = np.minimum(chunk, end - offsets)
            rows.append(
                np.column_stack(
                    [np.full_like(offsets, tensor), offsets, lengths, offsets + (start - begin)]
                )
            )
    table = np.concatenate([np.zeros((0, 4), np.int64), *rows])
    tiles = -(-table[:, 2] // tile)
    return np.ascontiguousarray(np.column_stack([table, np.cumsum(tiles) - tiles]))
