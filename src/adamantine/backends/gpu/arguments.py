"""What kernels are told in a step: by the host, or, where it knows no counters, by the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends import codes
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.gpu.kernel.counters import read_counters, write_counters
from adamantine.backends.gpu.step_words import StepWords
from adamantine.backends.gpu.streams import keep_for_graph
from adamantine.backends.step_scalars import ScalarsOf, StepScalars
from adamantine.codecs import noise
from adamantine.rules import Rule, bind

_key_of = bind(noise.key_of, codes.OPERATIONS)


class Sent(NamedTuple):
    """Of T tensors with C columns, and R rows of S scalars, on the device.

    Parameters
    ----------
    addresses
        int64 ``(T, C)``.
    rows
        int64 ``(T,)``: of the scalars; below 0, a tensor sits the step out.
    keys
        int64 ``(T,)``: what the step's random numbers come from. Anything where there are none.
    scalars
        float64 ``(R, S)``.
    """

    addresses: Tensor
    rows: Tensor
    keys: Tensor
    scalars: Tensor


class HostArguments:
    """Counters are in main memory: the host computes scalars, and sends all in one copy.

    Parameters
    ----------
    rule, counters, groups
        As of the table; the groups are those of the optimizer that it has, in order.
    probe
        The table's.
    columns
        How many of its columns kernels read.
    streams
        What the random numbers of each tensor begin with; None where there are none.
    """

    def __init__(
        self,
        rule: Rule,
        counters: Sequence[str],
        groups: Sequence[int],
        probe: TensorProbe,
        columns: int,
        streams: Tensor | None,
    ) -> None:
        self._probe, self._columns, self._streams = probe, columns, streams
        self._scalars = StepScalars(rule, counters, groups)
        self._words: StepWords | None = None

    def send(self, scalars_of: ScalarsOf) -> Sent:
        """Of the tensors as they were last looked at."""
        probe = self._probe
        grows = self._scalars.compute(probe, scalars_of)
        host = [probe.addresses[:, : self._columns], probe.rows, self._keys(), self._scalars.rows]
        if self._words is None or grows:
            self._words = StepWords(host, self._probe.device)
        addresses, rows, keys, scalars = self._words.send(host)
        return Sent(addresses, rows, rows if self._streams is None else keys, scalars)

    def _keys(self) -> NDArray[np.int64]:
        if self._streams is None:
            return np.zeros(0, np.int64)
        steps = torch.from_numpy(self._probe.values[:, 0]).long() + 1
        keys: NDArray[np.int64] = _key_of(self._streams, steps).numpy()
        return keys

    def advance(self, _sent: Sent, _decision: Tensor) -> None:
        """Count the step."""
        self._probe.advance(self._scalars.following)

    def begun(self) -> NDArray[np.bool_]:
        """Of which tensors the first step is done; for rules without counters."""
        return np.not_equal(self._probe.values[:, 0], 0)


class DeviceArguments:
    """Counters are on the device, and so are the scalars that come from them.

    What the host knows by itself is sent where it has changed; in most steps nothing is.
    """

    def __init__(
        self,
        rule: Rule,
        counters: Sequence[str],
        groups: Sequence[int],
        probe: TensorProbe,
        columns: int,
        streams: Tensor | None,
    ) -> None:
        self._rule, self._counters, self._groups = rule, counters, groups
        self._probe, self._columns = probe, columns
        device = probe.device
        self._streams = None if streams is None else streams.to(device)
        by_group = [np.flatnonzero(probe.groups == index) for index in range(len(groups))]
        self._members = [torch.from_numpy(found).to(device) for found in by_group]
        self._order = torch.from_numpy(np.argsort(np.concatenate(by_group))).to(device)
        # Where nothing counts, 0 for those whose first step is ahead.
        self._begun = torch.from_numpy(probe.values[:, 0].copy()).to(device)
        self._constants = np.zeros((len(groups), len(rule.scalars)))
        self._sent_constants = StepWords([self._constants], device)
        self._words: StepWords | None = None
        self._following: list[Tensor] = []
        self._addresses: list[Tensor] = []

    def send(self, scalars_of: ScalarsOf) -> Sent:
        """The same; `scalars_of` gets float64 vectors of counters instead of numbers."""
        probe = self._probe
        keep_for_graph(probe.device, self._streams, self._begun, self._order, *self._members)
        taking_part = np.where(probe.rows >= 0, np.arange(len(probe.rows)), -1)
        count = len(self._counters)
        lists = np.ascontiguousarray(probe.addresses[:, -count:].T) if count else np.zeros((0, 0))
        host = [probe.addresses[:, : self._columns], *lists.astype(np.int64), taking_part]
        if self._words is None:
            self._words = StepWords(host, probe.device)
        addresses, *self._addresses, rows = self._words.send(host)
        counters = [read_counters(found, rows) for found in self._addresses] or [self._begun]
        scalars = self._computed(counters, scalars_of)
        keys = rows
        if self._streams is not None:
            keys = _key_of(self._streams, counters[0].long() + 1)
        return Sent(addresses, rows, keys, scalars)

    def _computed(self, counters: Sequence[Tensor], scalars_of: ScalarsOf) -> Tensor:
        """A row for each tensor; notes what counters become."""
        names = self._rule.scalars
        found = []
        for index, (group, members) in enumerate(zip(self._groups, self._members, strict=True)):
            own = [c if len(self._groups) == 1 else c[members] for c in counters]
            scalars = scalars_of(group, own[0] + 1, *own[1:])
            for column, name in enumerate(names):
                if not isinstance(scalars[name], Tensor):
                    self._constants[index, column] = scalars[name]
            found.append((own, scalars))
        (constants,) = self._sent_constants.send([self._constants])
        rows, following = [], []
        for index, (own, scalars) in enumerate(found):
            # No indexing by lists: torch would copy these to the device, and wait.
            columns = [
                scalars[name] if isinstance(scalars[name], Tensor) else constants[index, column]
                for column, name in enumerate(names)
            ]
            rows.append(torch.stack([column.expand_as(own[0]) for column in columns], 1))
            following.append([scalars.get(n, own[0] + 1) for n in self._counters] or [own[0] + 1])
        self._following = [self._in_order(vectors) for vectors in zip(*following, strict=True)]
        return self._in_order(rows)

    def _in_order(self, by_group: Sequence[Tensor]) -> Tensor:
        return by_group[0] if len(by_group) == 1 else torch.cat(list(by_group))[self._order]

    def advance(self, sent: Sent, decision: Tensor) -> None:
        """Count the step, where it was done."""
        if self._counters:
            for addresses, values in zip(self._addresses, self._following, strict=True):
                write_counters(addresses, values, sent.rows, decision)
        else:
            done = (sent.rows >= 0) & (decision[1] != 0)
            self._begun.masked_fill_(done, 1.0)

    def begun(self) -> NDArray[np.bool_]:
        """The same; the host waits for it."""
        found: NDArray[np.float64] = self._begun.cpu().numpy()
        return np.not_equal(found, 0)
