"""A sum over data in memory, by which one notices that they have changed."""

import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

from adamantine.workloads.data.batches import in_memory
from adamantine.workloads.protocol import Data


def data_sum(*data: Data) -> int:
    """The CRC-32 of all bytes that are in memory; what comes from loaders is passed over."""
    total = 0
    for one in data:
        for part in one if in_memory(one) else ():
            for values in _values(part.detach()):
                raw = values.cpu().contiguous().flatten().view(torch.uint8)
                total = zlib.crc32(raw.numpy().data, total)
    return total


def _values(part: Tensor) -> Iterator[Tensor]:
    """What a tensor stores; of a sparse one where its elements are, too."""
    if part.layout == torch.strided:
        yield part.resolve_conj().resolve_neg()
        return
    entries = part.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
    yield from (entries.indices(), entries.values())
