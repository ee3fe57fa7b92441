"""What is known of the tensors of a table, and the look at them that begins every step."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.codes import block_count
from adamantine.backends.compiling import has
from adamantine.backends.cpu.kernel import arguments as arguments
from adamantine.backends.cpu.kernel.arguments import KernelArguments
from adamantine.backends.cpu.probe.statuses import ABSENT, CHANGED, GRAD, PARAM, READY, STAGE
from adamantine.backends.dlpack import MAIN_MEMORY, device_word, dtype_word
from adamantine.backends.formats import CODES, Format, exponents_of
from adamantine.backends.layout import are_apart, check_memory

compiled: Any = None
if has("numba"):  # kernels on a GPU can do without it
    from adamantine.backends.cpu.probe import compiled_probe as compiled

State = dict[str, Any]

_FEW_PAIRS = 1 << 15
"""Of spans of memory: comparing each two is quicker than sorting them."""


class TensorProbe:
    """T tensors: what is expected of them, and what each probe finds.

    Parameters
    ----------
    params
        T parameters of one dtype, on one device.
    states
        The dictionary that holds each one's states and counters.
    names, formats
        The names of states, of the parameter's shape, and their formats.
    counters
        The names of counters, 0-dimensional. The dictionaries may hold others, which are none of
        ours.
    groups
        The parameter group of each.
    reads_counters
        Whether counters are read. Those on a device are not, or the host would wait for it; then
        `values` are what they were.
    """

    def __init__(
        self,
        params: list[Tensor],
        states: list[State],
        names: Sequence[str],
        formats: Sequence[Format],
        counters: Sequence[str],
        groups: NDArray[np.int64],
        reads_counters: bool = True,
    ) -> None:
        count = len(params)
        coded = [exponents_of(n) for n, f in zip(names, formats, strict=True) if f.coded]
        self._states, self._names = states, (*names, *coded, *counters)
        self._counters, self._exponents = len(counters), len(coded)
        param = params[0].dtype
        self._dtypes = [param, param, *(f.dtype for f in formats), *[CODES] * len(coded)]
        self._dtypes += [torch.float32] * len(counters)
        # The gradients' column comes second; they are new objects each step.
        self._columns: list[list[Any]] = [
            params,
            [],
            *([s[n] for s in states] for n in self._names),
        ]
        layouts = [(*p.shape, *p.stride()) for p in params]
        self._layouts = np.array([n for layout in layouts for n in layout], np.int64)
        self._starts = np.cumsum([0, *map(len, layouts)], dtype=np.int64)
        self.groups = np.asarray(groups, np.int64)
        self.addresses = np.zeros((count, len(self._columns)), np.int64)
        self._bytes = np.zeros_like(self.addresses)
        ids = np.zeros_like(self.addresses)
        for column, tensors in enumerate(self._columns):
            if column != GRAD:
                ids[:, column] = list(map(id, tensors))
                self.addresses[:, column] = [t.data_ptr() for t in tensors]
                self._bytes[:, column] = [t.nbytes for t in tensors]
        self.moved = np.zeros_like(self.addresses)
        self.values = np.zeros((count, max(1, self._counters)))
        self.rows = np.zeros(count, np.int64)
        self.status = np.zeros(count, np.int64)
        self._reads_counters, self.device = reads_counters, params[0].device
        self._counting_device = states[0][counters[0]].device if counters else self.device
        self._exports = compiled is not None and compiled.exporter() != 0
        self._looks: list[list[Any]] | None = None  # when first needed
        self.complete = False  # whether every tensor takes part
        self.common = False  # whether, besides, all have the same counters
        # A lazy conjugation shows in no address, and no more does the lazy minus sign of a real
        # view of one. That view's stride is 2, so only a single element can pass for contiguous.
        self._lazy = [t for t, p in enumerate(params) if p.is_complex() or p.numel() == 1]
        self.arguments = KernelArguments()
        self.arguments[arguments.TENSORS], self.arguments[arguments.COLUMNS] = self.addresses.shape
        self.arguments[arguments.NONE] = id(None)
        self.arguments[arguments.COUNTERS] = self._counters
        self.arguments[arguments.EXPONENTS] = self._exponents
        self.arguments[arguments.DEVICE] = device_word(params[0])
        self.arguments[arguments.COUNTING_DEVICE] = MAIN_MEMORY
        if counters:
            self.arguments[arguments.COUNTING_DEVICE] = device_word(states[0][counters[0]])
        self.arguments[arguments.READS_COUNTERS] = reads_counters
        for word, array in (
            (arguments.IDS, ids),
            (arguments.DICTS, np.array(list(map(id, states)), np.int64)),
            (arguments.NAMES, np.array([0, 0, *map(id, self._names)], np.int64)),
            (arguments.ELEMENTS, np.array(list(map(dtype_word, self._dtypes)), np.int64)),
            (arguments.LAYOUTS, self._layouts),
            (arguments.STARTS, self._starts),
            (arguments.GROUPS, self.groups),
            (arguments.HINTS, np.zeros_like(ids)),
            (arguments.ADDRESSES, self.addresses),
            (arguments.MOVED, self.moved),
            (arguments.BYTES, self._bytes),
            (arguments.VALUES, self.values),
            (arguments.STATUS, self.status),
            (arguments.ROWS, self.rows),
        ):
            self.arguments.point(word, array)
        if compiled is not None:
            self.arguments.point(arguments.FUNCTIONS, compiled.functions())
            self.arguments.point(arguments.EXPORTED, np.zeros(compiled.DL_WORDS, np.int64))

    def read(self, grads: list[Any]) -> int:
        """Look at every tensor, with this step's gradients; return the worst status found."""
        if self._exports:
            worst = compiled.probe(self.arguments.address, id(grads))
        else:
            worst = self._probe_in_python(grads)
        if self.arguments[arguments.MOVES] and worst != CHANGED:
            followed = self._follow() or (self._look_at_absent() and self._follow())
            worst = worst if followed else CHANGED
        for t in self._lazy:
            if self.status[t] == READY:
                found = CHANGED if _is_lazy(self._columns[PARAM][t]) else STAGE
                if found == CHANGED or _is_lazy(grads[t]):
                    self.status[t] = worst = max(found, worst)
                    self.rows[t] = -1
        self.complete = worst == READY
        self.common = self.complete and self.arguments[arguments.COMMON] != 0
        return int(worst)

    def advance(self, following: NDArray[np.float64]) -> None:
        """Count the step for every tensor that takes part: by row, what its counters become."""
        if compiled is not None:
            self.arguments.point(arguments.NEXT, following)
            compiled.advance_counters(self.arguments.address)
            return
        names = self._names[len(self._names) - self._counters :]
        for t in np.flatnonzero(self.rows >= 0).tolist():
            self.values[t, 0] = 1 if not names else self.values[t, 0]
            for column, name in enumerate(names):
                self._states[t][name].fill_(following[self.rows[t], column])

    def _follow(self) -> bool:
        """Take in that tensors lie elsewhere than before, and are what they were otherwise.

        ``param.data = …`` in every step, as bounds and clipped weights are kept, is no reason to
        build a table anew.

        Returns
        -------
        bool
            False, with nothing taken in, where a tensor is none for this table any more.

        Raises
        ------
        BackendError
            When the storage of one was resized away.
        """
        places = list(zip(*map(np.ndarray.tolist, self.moved.nonzero()), strict=True))
        for t, column in places:
            tensor = self._columns[column][t]
            if _is_lazy(tensor):
                return False
            # The rest of the check takes longer than all of this.
            whole = not tensor.storage_offset() and tensor.untyped_storage().nbytes()
            if whole < self._bytes.item(t, column):
                check_memory("a parameter or its state", tensor)
        if compiled is not None and len(places) * self.addresses.size <= _FEW_PAIRS:
            return bool(compiled.follow_moved(self.arguments.address))
        begins = np.where(self.moved, self.moved, self.addresses)
        begins[:, GRAD] = 0  # gradients are only read
        if not are_apart(begins.ravel(), (begins + self._bytes).ravel()):
            return False
        np.copyto(self.addresses, self.moved, where=self.moved != 0)
        return True

    def _look_at_absent(self) -> bool:
        """Find those without a gradient, too: who has moved may lie where they have lain.

        Returns whether any of them has moved.
        """
        found = False
        for t in np.flatnonzero(self.status == ABSENT).tolist():
            for column, tensors in enumerate(self._columns):
                if column != GRAD and tensors[t].data_ptr() != self.addresses[t, column]:
                    self.moved[t, column] = tensors[t].data_ptr()
                    found = True
        return found

    def _probe_in_python(self, grads: list[Any]) -> int:
        columns = [*self._columns[:GRAD], grads, *self._columns[GRAD + 1 :]]
        if not self._found_as_before(columns):
            for t, tensors in enumerate(zip(*columns, strict=True)):
                self.status[t] = self._status(t, tensors)
                self.rows[t] = self.groups[t] if self.status[t] == READY else -1
        found = self.values[self.rows >= 0]
        self.arguments[arguments.COMMON] = bool((found == found[:1]).all())
        self.arguments[arguments.MOVES] = int(np.count_nonzero(self.moved))
        return int(self.status.max(initial=READY))

    def _found_as_before(self, columns: Sequence[list[Any]]) -> bool:
        """Whether all take part and are where they were, but for gradients; notes what it found.

        That is so in most steps, and column by column it is known in a fifth of the time.
        """
        for name, tensors in zip(self._names, columns[GRAD + 1 :], strict=True):
            now = [state.get(name) for state in self._states]
            if any(map(operator.is_not, now, tensors)):
                return False
        if any(grad is None for grad in columns[GRAD]):
            return False
        if self._looks is None:
            looks = [_looks(tensors) for tensors in self._columns]
            looks[GRAD] = looks[PARAM]
            self._looks = looks
        if any(_looks(c) != expected for c, expected in zip(columns, self._looks, strict=True)):
            return False
        addresses = np.array([[t.data_ptr() for t in c] for c in columns], np.int64).T
        resized = (addresses[:, GRAD] == 0) & (self._bytes[:, PARAM] > 0)
        addresses_before = self.addresses.copy()
        addresses_before[:, GRAD] = addresses[:, GRAD]
        if resized.any() or not np.array_equal(addresses, addresses_before):
            return False
        self.addresses[:, GRAD] = addresses[:, GRAD]
        self.moved[:], self.status[:], self.rows[:] = 0, READY, self.groups
        if self._reads_counters:
            for counter, tensors in enumerate(columns[len(columns) - self._counters :]):
                self.values[:, counter] = [t.item() for t in tensors]
        return True

    def _status(self, t: int, tensors: Sequence[Any]) -> int:
        self.moved[t] = 0
        if tensors[GRAD] is None:
            return ABSENT
        now = map(self._states[t].get, self._names)
        if any(a is not b for a, b in zip(now, tensors[GRAD + 1 :], strict=True)):
            return CHANGED
        found = READY
        layout = tuple(self._layouts[self._starts[t] : self._starts[t + 1]])
        blocks = (block_count(tensors[0].numel()), 1)
        for column, tensor in enumerate(tensors):
            counter = column - (len(tensors) - self._counters)
            is_counter = counter >= 0
            is_exponents = -self._exponents <= counter < 0
            expected = () if is_counter else blocks if is_exponents else layout
            device = self._counting_device if is_counter else self.device
            if not _fits(tensor, expected, self._dtypes[column], device):
                found = STAGE if column == GRAD else CHANGED
                if found == CHANGED:
                    return CHANGED
            elif column == GRAD:
                self.addresses[t, column] = tensor.data_ptr()
            elif tensor.data_ptr() != self.addresses[t, column]:
                self.moved[t, column] = tensor.data_ptr()
            if is_counter and self._reads_counters:
                self.values[t, counter] = tensor.item()
        return found


_LOOK = operator.attrgetter("dtype", "device", "layout", "shape")


def _looks(tensors: Sequence[Tensor]) -> list[Any]:
    return [(_LOOK(t), t.stride()) for t in tensors]


def _is_lazy(tensor: Tensor) -> bool:
    return tensor.is_neg() or tensor.is_conj()


def _fits(
    tensor: Tensor, layout: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> bool:
    if tensor.layout != torch.strided or tensor.dtype != dtype or tensor.device != device:
        return False
    ndim = len(layout) // 2
    if tensor.shape != layout[:ndim]:
        return False
    walked = zip(tensor.shape, tensor.stride(), layout[ndim:], strict=True)
    if any(size != 1 and stride != expected for size, stride, expected in walked):
        return False
    return tensor.data_ptr() != 0 or tensor.numel() == 0
