"""Tables in main memory whose rows one rule updates, all of them in one compiled call."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamantine.backends.cpu.kernel import arguments as arguments
from adamantine.backends.cpu.probe.compiled_probe import advance_counters
from adamantine.backends.cpu.probe.statuses import STAGE
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.cpu.rows import kernels as rows
from adamantine.backends.cpu.rows.row_arguments import MIN_PER_THREAD, RowArguments
from adamantine.backends.cpu.threads import parallel
from adamantine.backends.dlpack import dtype_word
from adamantine.backends.formats import Format
from adamantine.backends.layout import check_memory
from adamantine.backends.missed_steps import MissedSteps
from adamantine.backends.step_scalars import ScalarsOf
from adamantine.rules import Rule


class Due(NamedTuple):
    """A parameter that takes part in a step."""

    place: int
    dims: int  # how many of its leading dimensions number the rows
    scalars: Mapping[str, Any]


class RowTable:
    """Tables that have a rule in common, and the scalars of the groups they belong to.

    Parameters
    ----------
    rule
        What updates a row.
    formats
        Of the rule's states.
    params, states
        Contiguous parameters of one dtype that :func:`.table.refusal` lets pass, and the dictionary
        that holds each one's states, of the same shape and dtype. No two share memory.
    counters, fresh, groups
        As for a :class:`.table.Table`.
    exact
        Whether rows catch up on the steps that they have missed.
    """

    def __init__(
        self,
        rule: Rule,
        formats: Sequence[Format],
        params: list[Tensor],
        states: list[dict[str, Any]],
        counters: Sequence[str],
        fresh: Sequence[bool],
        groups: Sequence[int],
        exact: bool,
    ) -> None:
        for param, state in zip(params, states, strict=True):
            for tensor in (param, *(state[name] for name in rule.states)):
                check_memory("a parameter or its state", tensor)
        self._rule, self._params, self._counters, self._exact = rule, params, counters, exact
        self._groups = sorted(set(groups))
        indices = np.searchsorted(self._groups, groups)
        self._probe = TensorProbe(params, states, rule.states, formats, counters, indices)
        if not counters:
            self._probe.values[:, 0] = np.where(fresh, 0.0, 1.0)
        self._first = any(fresh)  # whether some have it ahead, where nothing counts
        self._arguments = RowArguments([p.shape for p in params], len(rule.states))
        self._arguments.place_addresses(self._probe.addresses)
        self._arguments.point(rows.ROWS, self._probe.rows)
        self._kernel = rows.compiled(rule, params[0].dtype, exact)
        packing = struct.Struct(f"{len(rule.scalars)}d")
        self._pack, self._row_bytes = packing.pack_into, packing.size
        self._in_order = itemgetter(*rule.scalars)
        # At most a row for each parameter, where none has the counters of another.
        self._step_scalars = np.empty((len(params), len(rule.scalars)))
        self._buffer = self._step_scalars.data.cast("B")
        self._next = np.empty((len(params), len(counters)))
        self._arguments.point(rows.STEP_SCALARS, self._step_scalars)
        self._probe.arguments.point(arguments.NEXT, self._next)
        self._dtype, self._element = params[0].dtype, params[0].element_size()
        self._dlpack = dtype_word(self._dtype)
        self._scalars: list[Mapping[str, Any]] = []  # by row of scalars
        self._held: list[Any] = []
        self._threads = 1

    def refresh(self, grads: Sequence[Tensor | None]) -> int | None:
        """Read the addresses of everything, with this step's sparse gradients (None for none).

        They have the shapes of the parameters. Returns the place of the first that is not of the
        parameters' dtype, in main memory, or names rows that are not there; -1 where all are. None
        when a tensor is no longer what this was built for. Nothing has been written then.
        """
        given = self._arguments
        # So far, as many threads as in the last step: they come up while addresses are read.
        parallel.wake(self._threads)
        # A sparse gradient has no layout to compare: its parameter stands in its place.
        params: list[Tensor | None] = list(self._params)
        indices: list[Any] = [None] * len(grads)
        values: list[Any] = [None] * len(grads)
        lazily_negative = False  # which shows in no address
        for place, grad in enumerate(grads):
            if grad is None:
                params[place] = None
                continue
            indices[place], values[place] = grad._indices(), grad._values()
            lazily_negative = lazily_negative or values[place].is_neg()
        if self._probe.read(params) >= STAGE:
            return None
        bad = self._look(indices, values, lazily_negative)
        # Their addresses are in use until the kernel returns.
        self._held = [indices, values]
        if bad >= 0:
            return bad
        bad = given.gather(self._element)
        self._threads = parallel.threads_for(given.weight, MIN_PER_THREAD)
        return bad

    def _look(self, indices: list[Any], values: list[Any], lazily_negative: bool) -> int:
        """Pass on what gradients consist of; copies those values that lie apart."""
        if not lazily_negative and self._arguments.look(indices, values, self._dlpack):
            return -1
        for place, (index, value) in enumerate(zip(indices, values, strict=True)):
            if index is not None:
                if value.dtype is not self._dtype or not value.is_cpu:
                    return place
                values[place] = value.resolve_neg().contiguous()
            self._arguments.give(place, index, values[place], 0 if index is None else value.numel())
        return -1

    @property
    def is_one_call(self) -> bool:
        """Whether one call of compiled code is all that :meth:`run` writes."""
        return not (self._exact or self._counters or self._first)

    def set_step_scalars(self, scalars_of: ScalarsOf) -> None:
        """Compute this step's scalars; after :meth:`refresh`, and before :meth:`run`."""
        probe = self._probe
        self._scalars = []
        if probe.common:
            counters = probe.values[0].tolist()
            for group in self._groups:
                self._set_row(scalars_of, group, counters)
            return
        known: dict[tuple[float, ...], int] = {}
        for place, (index, counters) in enumerate(
            zip(probe.rows.tolist(), probe.values.tolist(), strict=True)
        ):
            if index < 0:
                continue
            key = (index, *counters)
            if key not in known:
                known[key] = len(known)
                self._set_row(scalars_of, self._groups[index], counters)
            probe.rows[place] = known[key]

    def due(self) -> list[Due]:
        """The parameters that take part, after :meth:`set_step_scalars`."""
        dims = self._arguments.blocks[:, rows.DIMS].tolist()
        return [
            Due(place, dims[place], self._scalars[row])
            for place, row in enumerate(self._probe.rows.tolist())
            if row >= 0
        ]

    def run(self, missed_steps: Mapping[int, MissedSteps]) -> None:
        """Update the rows, where they wait, after they have caught up on these steps, by place.

        This step is among them then, too.
        """
        if self._exact:
            for place, missed in missed_steps.items():
                self._arguments.wait(place, missed)
        probe = self._probe
        # Compiled code writes behind autograd's back; before it does, as in a table of whole
        # tensors: where this is one call, a signal's handler may come right after it.
        torch.autograd.graph.increment_version(
            self._params
            if probe.complete
            else [p for p, row in zip(self._params, probe.rows, strict=True) if row >= 0]
        )
        self._arguments.run(self._kernel.address, self._threads)
        if self._exact:
            self._record(missed_steps)
        if self._counters or self._first:
            advance_counters(probe.arguments.address)

    def _record(self, missed_steps: Mapping[int, MissedSteps]) -> None:
        chosen = self._probe.rows
        names: tuple[str, ...] = ()
        for place, missed in missed_steps.items():
            missed.record(self._scalars[chosen[place]])
            self._arguments.wait(place, missed)
            names = (*missed.catch_up.scalars, *missed.catch_up.constant)
        given = np.array([[s[name] for name in names] for s in self._scalars], np.float64)
        self._arguments.point(rows.SUM_SCALARS, given)
        self._arguments.record(rows.compiled_record(self._rule).address, self._threads)

    def _set_row(self, scalars_of: ScalarsOf, group: int, counters: Sequence[float]) -> None:
        step, row = counters[0] + 1, len(self._scalars)
        scalars = scalars_of(group, step, *counters[1:])
        self._pack(self._buffer, row * self._row_bytes, *self._in_order(scalars))
        for column, name in enumerate(self._counters):
            self._next[row, column] = scalars.get(name, step)
        self._scalars.append(scalars)

    def release(self) -> None:
        """Let go of the gradients; after :meth:`run`, or where none follows."""
        self._held = []
        self._arguments.release()


class CompiledRows:
    """A parameter and its states, as rows that catch up outside of a step.

    Parameters
    ----------
    rule
        What updates a row.
    param, states
        As for a :class:`RowTable`, the states in the rule's order.
    """

    def __init__(self, rule: Rule, param: Tensor, states: Sequence[Tensor]) -> None:
        self._rule, self._tensors = rule, [param, *states]
        self._arguments = RowArguments([param.shape], len(states))
        self._arguments.point(rows.ROWS, np.zeros(1, np.int64))
        # Nothing is updated, but the kernel reads them.
        self._arguments.point(rows.STEP_SCALARS, np.zeros(len(rule.scalars)))

    def catch_up(self, missed: MissedSteps, numbers: Tensor | None = None) -> bool:
        """Let rows (all, or those numbered, twice or not) do the steps that they missed.

        Numbers are for one dimension of rows. Returns whether there were any.
        """
        waiting = missed.last if numbers is None else missed.last[numbers]
        if not bool((waiting < missed.now).any()):
            return False
        given, param = self._arguments, self._tensors[0]
        for index, tensor in enumerate(self._tensors):
            check_memory("a parameter or its state", tensor)
            given.blocks[0, rows.TENSORS + index] = tensor.data_ptr()
        width = param.shape[len(missed.shape) :].numel()
        threads = parallel.threads_for(len(waiting) * width, MIN_PER_THREAD)
        parallel.wake(threads)
        if numbers is None:
            given.give_all(len(missed.shape), param.element_size())
        else:
            # Each row once, for two threads must not meet in it.
            given.give(0, numbers[None], None, len(numbers) * width)
            given.gather(param.element_size())
        given.wait(0, missed)
        given.run(rows.compiled(self._rule, param.dtype, True).address, threads)
        return True
