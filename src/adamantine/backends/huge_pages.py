"""Large pages for large states.

A step walks over all of a state, or picks rows from all over it; with pages of 4 KiB the processor
spends part of that on finding them. Linux gives out pages of 2 MiB where it is asked to.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

from torch import Tensor

WORTHWHILE = 8 * 2**20
"""Bytes from which it is worth asking: four large pages."""


def ask_for_large_pages(tensor: Tensor) -> None:
    """Ask for large pages under a tensor that nobody has written to yet; a hint, nothing more."""
    madvise = _madvise()
    if madvise is None or not tensor.is_cpu or tensor.nbytes < WORTHWHILE:
        return
    # Whole pages inside the tensor only: what lies beside it is somebody else's.
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    """The C function; None where there is none, or no large pages to ask for."""
    if sys.platform != "linux" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    return getattr(ctypes.CDLL(None), "madvise", None)
