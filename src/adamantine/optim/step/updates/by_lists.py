"""The update of many parameters by the lists backend: those that have all of it in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamantine.backends import lists
from adamantine.backends.layout import (
    has_memory,
    has_own_dispatch,
    overlapping,
    storage_span,
)
from adamantine.backends.modes import observer
from adamantine.optim.step.updates.member import Member, Totals
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.rules import Rule

Group = dict[str, Any]
Pair = tuple[Member, Tensor]

ELEMENTS = 1 << 26
"""At most so many in a list of more than one tensor: some results of operations are in memory at a
time, and these would take as much of it as the whole model."""

_ONE = torch.ones((), device="cpu")  # torch makes a tensor of a number, for each it is added to


def refusal(member: Member, group: Group) -> str | None:
    """Why lists cannot take a parameter, or None where they can."""
    if (seen_by := observer()) is not None:
        return f"seen by {seen_by}, to which each of its operations has to be shown alone"
    if group.get(BY_AUTOGRAD):
        return "in a group with differentiable=True, which records each update alone"
    if has_own_dispatch(member.here):
        return f"a {type(member.param).__name__}, which handles torch's operations itself"
    unknown = not set(member.rule.shapes.values()) <= lists.AXES.keys()
    if unknown and member.rule.matrices is None:
        return "one whose states are of shapes that lists do not know, and is updated alone"
    if not member.treatment.plain:
        return "kept in codes or rounded by random numbers, for which there are no lists"
    if any(t.is_conj() or t.is_neg() for t in _written(member)):
        return "a view with a lazy minus sign or conjugation"
    return None


def select_for_lists(members: Sequence[Member], groups: list[Group]) -> list[Member]:
    """Those of `members`, in the order they are updated, that lists take.

    Shared memory means one update after the other, which is how the reference runs.
    """
    takers = [m for m in members if refusal(m, groups[m.group]) is None]
    one_by_one = overlapping([_written(m) for m in takers])
    return [m for index, m in enumerate(takers) if index not in one_by_one]


def _written(member: Member) -> list[Tensor]:
    return [member.here, *(member.state_here[name] for name in member.rule.states)]


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.device, tensor.shape, tensor.is_neg()


class Taker(NamedTuple):
    """A member that lists take."""

    member: Member
    kind: int  # alike for those that may be in one list
    strided: bool  # whether the strides of its gradient matter
    written: list[Tensor]  # the parameter, and its states


class Row(NamedTuple):
    """A row of scalars with whom it is for: lists of pairs that have the rest in common, too."""

    rule: Rule
    scalars: Mapping[str, Any]
    lists: defaultdict[Any, list[tuple[Taker, Tensor]]]


class ListUpdates:
    """Members of a plan that lists update.

    Parameters
    ----------
    members
        Those that :func:`select_for_lists` has selected.
    counters
        What the family counts beside the step.
    """

    def __init__(self, members: Sequence[Member], counters: Sequence[str]) -> None:
        self._counters = counters
        kinds: dict[Any, int] = {}
        self._takers: dict[int, Taker] = {}  # by id of the member
        for member in members:
            device = member.here.device
            kind = kinds.setdefault((member.treatment, device), len(kinds))
            # On an accelerator one launch is for tensors of the same strides.
            self._takers[id(member)] = Taker(member, kind, device.type != "cpu", _written(member))
        self._written = [tensor for taker in self._takers.values() for tensor in taker.written]
        self._forms = list(map(_form, self._written))
        self._complex = [tensor for tensor in self._written if tensor.is_complex()]
        self._look()

    def __contains__(self, member: Member) -> bool:
        return id(member) in self._takers

    def hold(self) -> bool:
        """Whether no two tensors share memory, wherever they are, and all are of the same form."""
        if any(map(Tensor.is_conj, self._complex)):
            return False
        if self._addresses == list(map(Tensor.data_ptr, self._with_memory)):
            return True
        self._look()
        return self._forms == list(map(_form, self._written)) and not overlapping(
            [taker.written for taker in self._takers.values()]
        )

    def _look(self) -> None:
        """Note where all tensors are."""
        self._with_memory = list(filter(has_memory, self._written))
        self._addresses = list(map(Tensor.data_ptr, self._with_memory))
        self._storages = np.array(sorted(set(map(storage_span, self._with_memory))), np.uint64)

    def run(self, pairs: Sequence[Pair], scalars: Scalars, totals: Totals | None) -> None:
        """Do a step of these members, with their gradients, and count it."""
        grads = self._apart([grad for _, grad in pairs])
        takers = [self._takers[id(member)] for member, _ in pairs]
        for row in self._rows(takers, grads, scalars, totals):
            for same in row.lists.values():
                for some in _in_runs(same):
                    params, *states = map(list, zip(*(t.written for t, _ in some), strict=True))
                    lists.update(row.rule, params, [g for _, g in some], states, row.scalars)
        parts = [taker.member.param for taker in takers if taker.member.part is not None]
        if parts:
            torch.autograd.graph.increment_version(parts)

    def _apart(self, grads: list[Tensor]) -> list[Tensor]:
        """Gradients, and copies of those that share memory with what is written."""
        if not len(self._storages):
            return grads
        starts, ends = self._storages.T
        addresses = np.array([g.data_ptr() if has_memory(g) else 0 for g in grads], np.uint64)
        places = starts.searchsorted(addresses, "right") - 1
        shared = (places >= 0) & (addresses < ends[places])
        if not shared.any():
            return grads
        return [g.clone() if one else g for g, one in zip(grads, shared.tolist(), strict=True)]

    def _rows(
        self,
        takers: Sequence[Taker],
        grads: Sequence[Tensor],
        scalars: Scalars,
        totals: Totals | None,
    ) -> Collection[Row]:
        """Count the step, and sort the members by what they have in common."""
        steps = [t.member.state["step"] for t in takers if t.member.treatment.counters]
        if steps:
            torch._foreach_add_(steps, _ONE, alpha=1.0)
        rows: dict[Any, Row] = {}
        by_place: dict[Any, Row] = {}  # several places may have the same scalars
        for pair in zip(takers, grads, strict=True):
            (member, kind, strided, written), grad = pair
            counted = self._counted(member)
            summed = () if totals is None else tuple(totals.get(id(member.param), ()))
            place = (kind, member.group, summed, *counted)
            row = by_place.get(place)
            if row is None:
                scalars_of = scalars.of(member.treatment.computed_as)
                found = _found(member, scalars_of(member.group, *counted), totals)
                values = tuple(found.get(name) for name in member.rule.scalars)
                row = rows.setdefault((kind, *values), Row(member.rule, found, defaultdict(list)))
                by_place[place] = row
            for name in self._counters:
                member.state[name].fill_(row.scalars[name])
            alike = grad.dtype, not strided or grad.stride() == written[0].stride()
            row.lists[alike].append(pair)
        return rows.values()

    def _counted(self, member: Member) -> list[float]:
        """The number of this step, and what else is counted, before it."""
        state = member.state
        if member.treatment.counters:
            step = float(state["step"])
        else:
            step, member.fresh = 1.0 if member.fresh else 2.0, False
        return [step, *(float(state[name]) for name in self._counters)]


def _found(member: Member, scalars: Mapping[str, Any], totals: Totals | None) -> Mapping[str, Any]:
    """The scalars without the one that a tensor's sums decide, or with it where they are known."""
    sums = member.rule.tensor_sums
    if sums is None:
        return scalars
    decided = member.decided(totals, scalars)
    if decided is not None:
        return {**scalars, sums.scalar: decided}
    return {name: value for name, value in scalars.items() if name != sums.scalar}


def _in_runs(pairs: list[tuple[Taker, Tensor]]) -> Iterator[list[tuple[Taker, Tensor]]]:
    """Pairs in lists of at most `ELEMENTS`, or of one."""
    start = elements = 0
    for index, (_, grad) in enumerate(pairs):
        elements += grad.numel()
        if elements > ELEMENTS and index > start:
            yield pairs[start:index]
            start, elements = index, grad.numel()
    yield pairs[start:]
