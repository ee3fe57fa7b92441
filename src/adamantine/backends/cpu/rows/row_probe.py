"""Where sparse gradients lie: the addresses of their indices and values, in compiled code.

As :mod:`.compiled_probe` does for dense tensors, and for the same reason: asking torch for them one
by one from Python takes longer than the update of a small table.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from adamantine.backends.cpu.compiling.decorators import njit_cached
from adamantine.backends.cpu.compiling.memory import int64_pointer
from adamantine.backends.cpu.compiling.native import call0, call2, object2
from adamantine.backends.cpu.probe.compiled_probe import (
    _DATA,
    _DEVICE,
    _OFFSET,
    _SHAPE,
    _STRIDES,
    _TYPE,
    CLEAR_ERROR,
    DL_WORDS,
    EXPORT,
    LIST_ITEM,
)
from adamantine.backends.cpu.rows.kernels import (
    BLOCKS,
    DIMS,
    GIVEN,
    GRADS,
    HEAD,
    INDICES,
    STEP_OF_BLOCKS,
    STRIDE,
    STRIDE_OF_DIMS,
    TABLES,
    TENSORS,
    VALUES,
)
from adamantine.backends.dlpack import MAIN_MEMORY

INT64 = 0 | 64 << 8 | 1 << 16
"""DLPack's code of the type."""


@njit_cached()
def look(arguments, calls, indices, values, none, element):
    """Fill in what was given to each table; the caller holds the GIL.

    `indices` and `values` are lists of tensors, or `none` for a table that sits the step out, and
    `element` is DLPack's code of the values' type. Returns how many indices there are; or, below 0,
    where not all is as it has to be: contiguous, in main memory and of that type.
    """
    head = carray(int64_pointer(arguments), HEAD)
    exported = np.zeros(DL_WORDS, np.int64)
    out = exported.ctypes.data
    total = 0
    for table in range(head[TABLES]):
        words = carray(int64_pointer(head[BLOCKS] + head[STEP_OF_BLOCKS] * table), TENSORS)
        for word in range(VALUES + 1):
            words[word] = 0
        item = object2(calls[LIST_ITEM], indices, table)
        if item == none:
            continue
        if call2(calls[EXPORT], item, out) != 0:
            call0(calls[CLEAR_ERROR])
            return -1
        if exported[_DEVICE] != MAIN_MEMORY or exported[_TYPE] != (INT64 << 32 | 2):
            return -1
        shape = carray(int64_pointer(exported[_SHAPE]), 2)
        strides = carray(int64_pointer(exported[_STRIDES]), 2)
        words[INDICES] = exported[_DATA] + exported[_OFFSET]
        words[STRIDE_OF_DIMS], words[STRIDE] = strides[0], strides[1]
        words[DIMS], words[GIVEN] = shape[0], shape[1]
        if call2(calls[EXPORT], object2(calls[LIST_ITEM], values, table), out) != 0:
            call0(calls[CLEAR_ERROR])
            return -1
        ndim = exported[_TYPE] & 0xFFFFFFFF
        if exported[_DEVICE] != MAIN_MEMORY or exported[_TYPE] >> 32 != element:
            return -1
        size = 1
        for back in range(ndim):
            dim = 8 * (ndim - 1 - back)
            length = carray(int64_pointer(exported[_SHAPE] + dim), 1)[0]
            stride = carray(int64_pointer(exported[_STRIDES] + dim), 1)[0]
            if length != 1 and stride != size:
                return -1
            size *= length
        words[GRADS], words[VALUES] = exported[_DATA] + exported[_OFFSET], size
        total += words[GIVEN]
    return total
