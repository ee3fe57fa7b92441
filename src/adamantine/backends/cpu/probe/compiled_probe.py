"""Where tensors live: their addresses, after checking that they are what the kernels expect.

A kernel trusts an address with its life, so no address outlives a step: every step reads all of
them from the live tensors and compares dtype, device, shape and strides on the way. Asking torch
for these one by one from Python costs about 0.4 µs a tensor. torch offers the same through the
DLPack C exchange API (``Tensor.__dlpack_c_exchange_api__``, DLPack 1.2), a table of C functions
made for this use, at 0.05 µs. Where it is missing (older torch), :mod:`.tensor_probe` does the same
in Python.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import numpy as np
from numba import carray, int64, njit, void
from torch import Tensor

from adamantine.backends.cpu.compiling.decorators import cfunc_cached, njit_cached
from adamantine.backends.cpu.compiling.memory import (
    float32_pointer,
    float64_pointer,
    int64_pointer,
    prefetch,
)
from adamantine.backends.cpu.compiling.native import address_of, call0, call2, object2
from adamantine.backends.cpu.kernel.arguments import (
    ADDRESSES,
    BYTES,
    COLUMNS,
    COMMON,
    COUNTERS,
    COUNTING_DEVICE,
    DEVICE,
    DICTS,
    ELEMENTS,
    EXPONENTS,
    EXPORTED,
    FUNCTIONS,
    GROUPS,
    HINTS,
    IDS,
    LAYOUTS,
    MOVED,
    MOVES,
    NAMES,
    NEXT,
    NONE,
    READS_COUNTERS,
    ROWS,
    STARTS,
    STATUS,
    TENSORS,
    VALUES,
    WORDS,
)
from adamantine.backends.cpu.probe.statuses import ABSENT, CHANGED, GRAD, READY, STAGE
from adamantine.codecs.blocks import BLOCK


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_int64),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_int64),
        ("strides", ctypes.c_int64),
        ("byte_offset", ctypes.c_int64),
    ]


class _ExchangeAPI(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("prev_api", ctypes.c_void_p),
        ("managed_tensor_allocator", ctypes.c_void_p),
        ("managed_tensor_from_py_object_no_sync", ctypes.c_void_p),
        ("managed_tensor_to_py_object_no_sync", ctypes.c_void_p),
        ("dltensor_from_py_object_no_sync", ctypes.c_void_p),
        ("current_work_stream", ctypes.c_void_p),
    ]


# The words of a DLTensor on a 64-bit little-endian machine, as one int64 array.
_DATA, _DEVICE, _TYPE, _SHAPE, _STRIDES, _OFFSET = range(6)
DL_WORDS = ctypes.sizeof(_DLTensor) // 8
_AHEAD = 3  # tensors; a probe is waiting for memory, mostly

# C functions that the probe calls.
EXPORT, CLEAR_ERROR, LIST_ITEM, DICT_ITEM = range(4)


@cache
def exporter() -> int:
    """Address of torch's ``dltensor_from_py_object_no_sync``; 0 where torch has none."""
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return 0
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api = _ExchangeAPI.from_address(get_pointer(capsule, b"dlpack_exchange_api"))
    return api.dltensor_from_py_object_no_sync or 0 if api.major == 1 else 0


@cache
def functions() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Addresses of the C functions, in the order of their names above."""
    python = ctypes.pythonapi
    found = (python.PyErr_Clear, python.PyList_GetItem, python.PyDict_GetItemWithError)
    return np.array([exporter(), *map(address_of, found)], np.int64)


@njit
def _has_layout(exported, layouts, start, ndim):
    """Whether an exported tensor has the shape and strides that stand in `layouts` at `start`."""
    if exported[_TYPE] & 0xFFFFFFFF != ndim:
        return False
    elements = 1
    if ndim > 0:
        shape = carray(int64_pointer(exported[_SHAPE]), ndim)
        strides = carray(int64_pointer(exported[_STRIDES]), ndim)
        for i in range(ndim):
            # The stride of a dimension of one element is never walked.
            if shape[i] != layouts[start + i] or (
                shape[i] != 1 and strides[i] != layouts[start + ndim + i]
            ):
                return False
            elements *= shape[i]
    return exported[_DATA] != 0 or elements == 0


@njit
def _has_blocks(exported, layouts, start, ndim):
    """Whether an exported tensor holds one byte for each block of a tensor of that layout."""
    if exported[_TYPE] & 0xFFFFFFFF != 1:
        return False
    elements = 1
    for i in range(ndim):
        elements *= layouts[start + i]
    blocks = (elements + BLOCK - 1) // BLOCK
    # One dimension has no gaps unless its stride says so.
    return carray(int64_pointer(exported[_SHAPE]), 1)[0] == blocks and (
        blocks <= 1 or carray(int64_pointer(exported[_STRIDES]), 1)[0] == 1
    )


@njit_cached()
def probe(arguments, grads):
    """Look at every tensor of a table, `grads` being a list; the caller holds the GIL.

    Returns the worst status. Fills ``STATUS``, ``ROWS`` (the group, or -1 for who sits out), the
    gradients' ``ADDRESSES``, ``VALUES`` and ``COMMON``. The other columns' addresses are compared;
    ``MOVES`` of them differ, and go to ``MOVED``. What the dictionaries hold has to be the tensors
    of ``IDS``.
    """
    words = carray(int64_pointer(arguments), WORDS)
    tensors, columns, counters = words[TENSORS], words[COLUMNS], words[COUNTERS]
    elements = carray(int64_pointer(words[ELEMENTS]), columns)
    ids = carray(int64_pointer(words[IDS]), (tensors, columns))
    dicts = carray(int64_pointer(words[DICTS]), tensors)
    names = carray(int64_pointer(words[NAMES]), columns)
    starts = carray(int64_pointer(words[STARTS]), tensors + 1)
    layouts = carray(int64_pointer(words[LAYOUTS]), starts[tensors])
    groups = carray(int64_pointer(words[GROUPS]), tensors)
    hints = carray(int64_pointer(words[HINTS]), (tensors, columns))
    addresses = carray(int64_pointer(words[ADDRESSES]), (tensors, columns))
    moved = carray(int64_pointer(words[MOVED]), (tensors, columns))
    values = carray(float64_pointer(words[VALUES]), (tensors, max(1, counters)))
    status = carray(int64_pointer(words[STATUS]), tensors)
    rows = carray(int64_pointer(words[ROWS]), tensors)
    calls = carray(int64_pointer(words[FUNCTIONS]), 4)
    none, out = words[NONE], words[EXPORTED]
    exported = carray(int64_pointer(out), DL_WORDS)
    worst = READY
    words[COMMON], words[MOVES] = 1, 0
    first = -1
    for t in range(tensors):
        ids[t, GRAD] = object2(calls[LIST_ITEM], grads, t)
        found = ABSENT if ids[t, GRAD] == none else READY
        ahead = min(t + _AHEAD, tensors - 1)
        for column in range(columns):
            moved[t, column] = 0
            prefetch(ids[ahead, column])
            prefetch(hints[ahead, column])
            prefetch(hints[ahead, column] - 64)
            prefetch(hints[ahead, column] + 64)
        for column in range(columns):
            if found != READY:
                break
            counter = column - (columns - counters)
            if column > GRAD:
                held = object2(calls[DICT_ITEM], dicts[t], names[column])
                if held != ids[t, column]:
                    if held == 0:
                        call0(calls[CLEAR_ERROR])
                    found = CHANGED
                    break
            ndim = 0 if counter >= 0 else (starts[t + 1] - starts[t]) // 2
            fits = False
            if call2(calls[EXPORT], ids[t, column], out) != 0:
                call0(calls[CLEAR_ERROR])
            elif (
                exported[_DEVICE] == words[COUNTING_DEVICE if counter >= 0 else DEVICE]
                and exported[_TYPE] >> 32 == elements[column]
            ):
                if counter >= 0 or counter < -words[EXPONENTS]:
                    fits = _has_layout(exported, layouts, starts[t], ndim)
                else:
                    fits = _has_blocks(exported, layouts, starts[t], ndim)
            address = exported[_DATA] + exported[_OFFSET]
            hints[t, column] = exported[_SHAPE]
            if not fits:
                found = STAGE if column == GRAD else CHANGED
            elif column != GRAD and address != addresses[t, column]:
                moved[t, column] = address
                words[MOVES] += 1
            else:
                addresses[t, column] = address
            if fits and counter >= 0 and words[READS_COUNTERS]:
                values[t, counter] = carray(float32_pointer(address), 1)[0]
        status[t] = found
        rows[t] = groups[t] if found == READY else -1
        worst = max(worst, found)
        if found == READY:
            first = t if first < 0 else first
            for counter in range(values.shape[1]):
                if values[t, counter] != values[first, counter]:
                    words[COMMON] = 0
    return worst


@njit_cached()
def follow_moved(arguments):
    """Take the addresses in ``MOVED`` for those that tensors have.

    Unless one has a byte in common with another that is written; then it returns False. It compares
    each with all, so that is for few.
    """
    words = carray(int64_pointer(arguments), WORDS)
    tensors, columns = words[TENSORS], words[COLUMNS]
    addresses = carray(int64_pointer(words[ADDRESSES]), (tensors, columns))
    moved = carray(int64_pointer(words[MOVED]), (tensors, columns))
    sizes = carray(int64_pointer(words[BYTES]), (tensors, columns))
    for t in range(tensors):
        for column in range(columns):
            begin, size = moved[t, column], sizes[t, column]
            if begin == 0:
                continue
            for u in range(tensors):
                for other in range(columns):
                    there = moved[u, other] if moved[u, other] != 0 else addresses[u, other]
                    end = there + sizes[u, other]  # of a gradient, which is only read: `there`
                    meet = there < end and there < begin + size and begin < end
                    if meet and (u != t or other != column):
                        return False
    for t in range(tensors):
        for column in range(columns):
            if moved[t, column] != 0:
                addresses[t, column] = moved[t, column]
    return True


@njit_cached()
def advance_counters(arguments):
    """Count the step for every tensor that takes part: ``NEXT`` says what counters become."""
    words = carray(int64_pointer(arguments), WORDS)
    tensors, columns, counters = words[TENSORS], words[COLUMNS], words[COUNTERS]
    rows = carray(int64_pointer(words[ROWS]), tensors)
    addresses = carray(int64_pointer(words[ADDRESSES]), (tensors, columns))
    values = carray(float64_pointer(words[VALUES]), (tensors, max(1, counters)))
    for t in range(tensors):
        if rows[t] >= 0:
            if counters == 0:
                values[t, 0] = 1  # no longer the first step
            following = carray(float64_pointer(words[NEXT] + 8 * counters * rows[t]), counters)
            for counter in range(counters):
                address = addresses[t, columns - counters + counter]
                carray(float32_pointer(address), 1)[0] = following[counter]


@cfunc_cached(void(int64))
def advance(arguments):
    """:func:`advance_counters` as a C function, for :func:`.parallel.run`."""
    advance_counters(arguments)
