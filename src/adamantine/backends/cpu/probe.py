"""Where tensors live: their addresses, after checking that they are what the kernels expect.

A kernel trusts an address with its life, so no address outlives a step: every step reads all of
them from the live tensors and compares dtype, device, shape and strides on the way. Asking torch
for these one by one from Python costs about 0.4 µs a tensor. torch offers the same through the
DLPack C exchange API (``Tensor.__dlpack_c_exchange_api__``, DLPack 1.2), a table of C functions
made for this use, at 0.05 µs. Where it is missing (older torch), the Python way does the same work.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.memory import float32_pointer, int64_pointer, prefetch

# What a tensor of the table can be found to be.
READY, ABSENT, STAGE, MOVED = 0, 1, 2, 3
"""`ABSENT`: it has no gradient. `STAGE`: the gradient is laid out differently and has to be copied
first. `MOVED`: param, a state or the step is not where or what it was, and the table is void."""

PARAM, GRAD = 0, 1


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
_WORDS = ctypes.sizeof(_DLTensor) // 8
_DATA, _DEVICE, _TYPE, _SHAPE, _STRIDES, _OFFSET = range(6)
_CPU = 1
_AHEAD = 3  # tensors; a probe is waiting for memory, mostly
_FLOAT32 = (2 << 0) | (32 << 8) | (1 << 16)


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


_CLEAR_ERROR = ctypes.cast(ctypes.pythonapi.PyErr_Clear, ctypes.c_void_p).value


@intrinsic
def _export(typingctx, function, tensor, out):
    """Call ``int function(PyObject *tensor, DLTensor *out)``; the caller holds the GIL."""
    signature = types.int32(types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        pointer = ir.FunctionType(ir.IntType(32), [word, word]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], pointer), arguments[1:])

    return signature, codegen


@intrinsic
def _call(typingctx, function):
    """Call ``void function(void)``."""

    def codegen(context, builder, signature, arguments):
        pointer = ir.FunctionType(ir.VoidType(), []).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@njit
def _has_layout(words, layouts, start, ndim):
    """Whether an exported tensor has the shape and strides that stand in `layouts` at `start`."""
    if words[_TYPE] & 0xFFFFFFFF != ndim:
        return False
    elements = 1
    if ndim > 0:
        shape = carray(int64_pointer(words[_SHAPE]), ndim)
        strides = carray(int64_pointer(words[_STRIDES]), ndim)
        for i in range(ndim):
            # The stride of a dimension of one element is never walked.
            if shape[i] != layouts[start + i] or (
                shape[i] != 1 and strides[i] != layouts[start + ndim + i]
            ):
                return False
            elements *= shape[i]
    return words[_DATA] != 0 or elements == 0


@njit(cache=True)
def _probe(
    export,
    clear_error,
    none,
    ids,
    hints,
    counted,
    layouts,
    starts,
    groups,
    addresses,
    steps,
    rows,
    status,
):
    tensors, columns = ids.shape
    words = np.zeros(_WORDS, np.int64)
    out = words.ctypes.data
    worst = READY
    common_step = True
    first = -1
    for t in range(tensors):
        found = ABSENT if ids[t, GRAD] == none else READY
        ahead = min(t + _AHEAD, tensors - 1)
        for column in range(columns):
            prefetch(ids[ahead, column])
            prefetch(hints[ahead, column])
            prefetch(hints[ahead, column] - 64)
            prefetch(hints[ahead, column] + 64)
        for column in range(columns):
            if found != READY:
                break
            # The last column of a table that counts steps is 0-dimensional.
            is_step = counted and column == columns - 1
            ndim = 0 if is_step else (starts[t + 1] - starts[t]) // 2
            fits = False
            if _export(export, ids[t, column], out) != 0:
                _call(clear_error)
            elif words[_DEVICE] == _CPU and words[_TYPE] >> 32 == _FLOAT32:
                fits = _has_layout(words, layouts, starts[t], ndim)
            address = words[_DATA] + words[_OFFSET]
            hints[t, column] = words[_SHAPE]
            if not fits:
                found = STAGE if column == GRAD else MOVED
            elif column != GRAD and address != addresses[t, column]:
                found = MOVED
            else:
                addresses[t, column] = address
                if is_step:
                    steps[t] = carray(float32_pointer(address), 1)[0] + 1
        status[t] = found
        rows[t] = groups[t] if found == READY else -1
        worst = max(worst, found)
        if found == READY:
            first = t if first < 0 else first
            common_step = common_step and steps[t] == steps[first]
    return worst, common_step


@njit(cache=True)
def advance_steps(addresses, rows):
    """Add one to the ``step`` of every tensor that takes part."""
    for t in range(len(rows)):
        if rows[t] >= 0:
            carray(float32_pointer(addresses[t, -1]), 1)[0] += 1


@dataclass
class Sheet:
    """What is known of T tensors: fixed expectations, and what each probe finds.

    Parameters
    ----------
    columns
        Lists of T tensors: params, one for each state, and the steps last where `counted`.
    groups
        ``(T,)``; the parameter group of each.
    counted
        Whether the last column holds steps; if not, `steps` is the caller's to fill.
    """

    columns: list[list[Any]]
    groups: NDArray[np.int64]
    counted: bool

    def __post_init__(self) -> None:
        params = self.columns[PARAM]
        count = len(params)
        layouts = [(*p.shape, *p.stride()) for p in params]
        self.layouts = np.array([n for layout in layouts for n in layout], np.int64)
        self.starts = np.cumsum([0, *map(len, layouts)], dtype=np.int64)
        # The gradients' column comes second; they are new objects each step.
        self.columns.insert(GRAD, [])
        self.ids = np.zeros((count, len(self.columns)), np.int64)
        for column, tensors in enumerate(self.columns):
            if column != GRAD:
                self.ids[:, column] = list(map(id, tensors))
        self.addresses = np.zeros_like(self.ids)
        # Where each tensor's shape was last seen: inside the object that the probe has to read.
        self.hints = np.zeros_like(self.ids)
        for column, tensors in enumerate(self.columns):
            if column != GRAD:
                self.addresses[:, column] = [t.data_ptr() for t in tensors]
        self.steps = np.zeros(count)
        self.rows = np.zeros(count, np.int64)
        self.status = np.zeros(count, np.int64)
        self.complete = False  # whether every tensor takes part
        self.common_step = False  # whether all that do are at the same step
        # A real view of a conjugated complex tensor has a lazy minus sign that no address shows.
        # Its stride is 2, so only a single element can pass for contiguous.
        self.single = [t for t, p in enumerate(params) if p.numel() == 1]

    def probe(self, grads: list[Any]) -> int:
        """Look at every tensor, with this step's gradients; return the worst status found.

        Fills `addresses`, `rows` (the group, or -1 for who sits out), `status`, and `steps` (the
        count that the coming step completes).
        """
        self.ids[:, GRAD] = np.fromiter(map(id, grads), np.int64, len(grads))
        export = exporter()
        if export:
            worst, self.common_step = _probe(
                export, _CLEAR_ERROR, id(None), self.ids, self.hints, self.counted, self.layouts,
                self.starts, self.groups, self.addresses, self.steps, self.rows, self.status,
            )  # fmt: skip
        else:
            worst = self._probe_in_python(grads)
            self.common_step = len(set(self.steps[self.rows >= 0].tolist())) <= 1
        for t in self.single:
            if grads[t] is not None and self.status[t] == READY and grads[t].is_neg():
                self.status[t] = worst = max(STAGE, worst)
                self.rows[t] = -1
        self.complete = worst == READY
        return int(worst)

    def _probe_in_python(self, grads: list[Any]) -> int:
        columns = [*self.columns[:GRAD], grads, *self.columns[GRAD + 1 :]]
        for t, tensors in enumerate(zip(*columns, strict=True)):
            self.status[t] = self._status(t, tensors)
            self.rows[t] = self.groups[t] if self.status[t] == READY else -1
        return int(self.status.max(initial=READY))

    def _status(self, t: int, tensors: Sequence[Any]) -> int:
        if tensors[GRAD] is None:
            return ABSENT
        layout = tuple(self.layouts[self.starts[t] : self.starts[t + 1]])
        for column, tensor in enumerate(tensors):
            is_step = self.counted and column == len(tensors) - 1
            if not _fits(tensor, () if is_step else layout):
                return STAGE if column == GRAD else MOVED
            if column != GRAD and tensor.data_ptr() != self.addresses[t, column]:
                return MOVED
            self.addresses[t, column] = tensor.data_ptr()
            if is_step:
                self.steps[t] = tensor.item() + 1
        return READY


def _fits(tensor: Tensor, layout: tuple[int, ...]) -> bool:
    if tensor.layout != torch.strided or tensor.dtype != torch.float32 or not tensor.is_cpu:
        return False
    ndim = len(layout) // 2
    if tensor.shape != layout[:ndim]:
        return False
    walked = zip(tensor.shape, tensor.stride(), layout[ndim:], strict=True)
    if any(size != 1 and stride != expected for size, stride, expected in walked):
        return False
    return tensor.data_ptr() != 0 or tensor.numel() == 0
