"""Matrices of one shape, and the two updates of elements around what is made of all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.formats import Format
from adamantine.backends.layout import check_gradient, is_dense
from adamantine.optim.state.precision import Treatment
from adamantine.optim.step.matrices.between import Between, NorMuon, Orthogonal
from adamantine.optim.step.matrices.eigenbasis import Eigenbasis
from adamantine.optim.step.updates import tables
from adamantine.optim.step.updates.by_torch import TorchUpdates
from adamantine.optim.step.updates.choice import Kernels
from adamantine.optim.step.updates.member import Member
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.usage.matrices import flat_shape
from adamantine.rules import Family, Rule
from adamantine.rules.rule import Matrices, Settings

Group = dict[str, Any]


class Batch:
    """Members with matrices of one shape, of one group and treated alike.

    Parameters
    ----------
    members
        What is updated.
    directions
        As many matrices as they have together, ``(B, rows, columns)``: memory that nobody else
        needs while a step of this batch is done.
    kernels
        Whose kernels take them, if any do; `in_lists`, else, whether torch's lists do.
    scalars
        The step's, for gradients times its factor.
    family, groups, owner
        The optimizer's.
    """

    def __init__(
        self,
        members: Sequence[Member],
        directions: Tensor,
        kernels: Kernels | None,
        in_lists: bool,
        scalars: Scalars,
        family: Family,
        groups: list[Group],
        owner: str,
    ) -> None:
        first = members[0]
        rule = first.rule
        assert rule.matrices is not None
        self.members, self._scalars, self._owner = members, scalars, owner
        self._device = directions.device.type
        settings: Settings = groups[first.group]
        counts = [flat_shape(m.param, settings)[0] for m in members]
        self._slices = [
            _laid_out(part, member.param)
            for part, member in zip(torch.split(directions, counts), members, strict=True)
        ]
        make = BETWEEN[rule.matrices.between]
        self.between = make(members, directions, self._slices, settings)
        self._grads: list[Any] = []
        before, after = _parted(first.treatment, rule, rule.matrices)
        given = (kernels, in_lists, groups, owner)
        self.before = Pass(
            [
                replace(member, treatment=before, param=direction)
                for member, direction in zip(members, self._slices, strict=True)
            ],
            scalars,
            *given,
        )
        self._of_shape = _OfShape(family, groups, rule.matrices, directions.shape[1:])
        # What is counted is counted by the first of the two. The other one gets copies, each time.
        self._counters = [m.state[name] for m in members for name in after.counters]
        self._copies = [counter.clone() for counter in self._counters]
        copies = iter(self._copies)
        self.after = Pass(
            [
                replace(
                    member,
                    treatment=after,
                    state=member.state | {name: next(copies) for name in after.counters},
                )
                for member in members
            ],
            self._of_shape,
            *given,
        )

    def refresh(self, grad_of: Callable[[Tensor], Any], constant: bool) -> bool:
        """Look at all tensors, with this step's gradients; False where one is another.

        `constant` says whether all settings are Python's numbers.
        """
        self._of_shape.constant = constant
        if self._copies:
            torch._foreach_copy_(self._copies, self._counters)
        grads = [grad_of(member.param) for member in self.members]
        found = [None if grad is None else d for grad, d in zip(grads, self._slices, strict=True)]
        if self.between.turns:
            for member, grad in zip(self.members, grads, strict=True):
                if grad is not None:
                    check_gradient(self._owner, member.param, grad)
        if not (self.before.refresh(self.between.gradients(grads)) and self.after.refresh(found)):
            return False
        self._grads = grads
        self.before.prepare()
        self.after.prepare()
        return True

    @torch.no_grad()
    def run(self, zero_grads: bool, decision: Tensor | None) -> None:
        """Do a step of those that have a gradient."""
        grads, self._grads = self._grads, []
        taking_part = [grad is not None for grad in grads]
        if not any(taking_part):
            return
        with _without_autocast(self._device):
            self.between.begin(grads)
            self.before.run(zero_grads and not self.between.turns, decision)
            self.between.make(taking_part, decision)
            self.after.run(False, decision)
            self.between.end(grads, self._scalars.factor)

    @property
    def reading_table(self) -> tables.AnyTable | None:
        """The table that reads the parameters' gradients, if one does."""
        return None if self.between.turns else self.before.table

    def release(self) -> None:
        """Let go of the gradients, where no step follows."""
        self._grads = []
        self.before.release()
        self.after.release()


def _without_autocast(device: str) -> AbstractContextManager[object]:
    """It would multiply float32 matrices in 16 bits, where somebody steps inside of it."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


BETWEEN: Mapping[str, type[Between]] = {
    "newton_schulz": Orthogonal,
    "normuon": NorMuon,
    "eigenbasis": Eigenbasis,
}


def has_rows_apart(param: Tensor, shape: tuple[int, int, int]) -> bool:
    """Whether each row of a parameter's matrices is a block of memory, and they come in order.

    Its elements may be in any order there, as those of a convolution in channels_last are: what is
    made of a matrix is the same for columns in any order.
    """
    if tuple(param.shape) == shape:  # a batch, be it of one
        return param.is_contiguous()
    return is_dense(param) and (shape[1] == 1 or param.stride(0) == shape[2])


def _laid_out(matrices: Tensor, param: Tensor) -> Tensor:
    """The memory of matrices as a tensor of a parameter's shape, and of its strides if they can."""
    count, rows, columns = matrices.shape
    if param.is_contiguous() or not has_rows_apart(param, (count, rows, columns)):
        return matrices.view(param.shape)
    return matrices.as_strided(param.shape, param.stride())


def _parted(treated: Treatment, rule: Rule, matrices: Matrices) -> tuple[Treatment, Treatment]:
    """How the directions are found, and how parameters are updated."""
    kept = rule.kept_before
    param, *states = treated.formats
    of_direction = Format(param.dtype)
    of_before = states[: len(matrices.before.states)]
    before = Treatment(matrices.before, (of_direction, *of_before), treated.counters)
    update = replace(rule, states=rule.states[kept:], matrices=None, shapes={})
    return before, Treatment(update, (param, *states[kept:]), treated.counters)


class Pass:
    """An update of the elements of a batch's members.

    Parameters
    ----------
    members
        What it writes to.
    scalars
        Its numbers.
    kernels, in_lists, groups, owner
        As for :class:`Batch`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        scalars: Scalars,
        kernels: Kernels | None,
        in_lists: bool,
        groups: list[Group],
        owner: str,
    ) -> None:
        self._members, self._scalars, self._owner = members, scalars, owner
        self.table: tables.AnyTable | None = None
        if kernels is None:
            self._by_torch = TorchUpdates(members if in_lists else [], groups, ())
        else:
            kernels_of: Mapping[int, Kernels | None] = {id(m): kernels for m in members}
            (self.table,) = tables.make_tables(members, kernels_of, None, owner)
        self._grads: Sequence[Any] = ()

    def refresh(self, grads: list[Any]) -> bool:
        """Look at all tensors; False where one is another."""
        if self.table is not None:
            return self.table.refresh(grads)
        for member, grad in zip(self._members, grads, strict=True):
            if grad is not None:
                check_gradient(self._owner, member.param, grad)
        self._grads = grads
        return self._by_torch.hold()

    def prepare(self) -> None:
        """Send the step's numbers to a device."""
        if self.table is not None and self.table.on_device:
            tables.prepare(self.table, self._scalars, self._owner)

    def run(self, zero_grads: bool, decision: Tensor | None) -> None:
        """Update what has a gradient."""
        scalars = self._scalars
        if self.table is None:
            self._by_torch.run(list(zip(self._members, self._grads, strict=True)), scalars, None)
            self._grads = ()
            return
        tables.run(self.table, scalars, zero_grads, False, None, decision)

    def release(self) -> None:
        """Let go of the gradients, where no step follows."""
        self._grads = ()
        if self.table is not None:
            self.table.release()


class _OfShape(Scalars):
    """Scalars that depend on the shape of matrices, too."""

    def __init__(
        self, family: Family, groups: Sequence[Group], matrices: Matrices, shape: Collection[int]
    ) -> None:
        super().__init__(family, groups)
        self._scaled_by, self._shape = matrices.scaled, tuple(shape)

    def of_group(
        self, group: int, *counters: float, dtype: torch.dtype | None = None
    ) -> Mapping[str, Any]:
        """Those of a group's parameters, for these counters."""
        return self._times(group, super().of_group(group, *counters, dtype=dtype))

    def on_device(
        self, group: int, *counters: Tensor, dtype: torch.dtype | None = None
    ) -> Mapping[str, Any]:
        """The same of counters that are on a device."""
        return self._times(group, super().on_device(group, *counters, dtype=dtype))

    def next(self, member: Member, differentiable: bool) -> Mapping[str, Any]:
        """Count the step of a member outside of the tables; returns its scalars."""
        return self._times(member.group, super().next(member, differentiable))

    def _times(self, group: int, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
        factors = self._scaled_by(self._groups[group], *self._shape)
        # The direction has its gradient's sign already.
        times = {name: factor * scalars[name] for name, factor in factors.items()}
        return {**scalars, **times, "sign": 1.0}
