"""What DLPack calls dtypes and devices: the words in which C functions tell of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from adamantine.backends.formats import CODES, OFFSETS, PAIRS

_SIGNED, _UNSIGNED, _FLOATING, _BFLOAT, _COMPLEX = 0, 1, 2, 4, 5
_KINDS = {
    CODES: _UNSIGNED,
    OFFSETS: _SIGNED,
    torch.bfloat16: _BFLOAT,
    **dict.fromkeys((torch.float16, torch.float32, torch.float64), _FLOATING),
    **dict.fromkeys(PAIRS, _COMPLEX),
}


MAIN_MEMORY = 1


def dtype_word(dtype: torch.dtype) -> int:
    """DLPack's code of a dtype that kernels take: kind, bits, and one lane."""
    return _KINDS[dtype] | 8 * dtype.itemsize << 8 | 1 << 16


def device_word(tensor: Tensor) -> int:
    """DLPack's code of the device that a tensor is on: kind and number."""
    if tensor.is_cpu:
        return MAIN_MEMORY  # pinned or not
    kind, index = tensor.__dlpack_device__()
    return int(kind) | int(index) << 32
