"""All members of a plan whose rule looks at whole matrices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.layout import has_own_dispatch
from adamantine.backends.modes import observer
from adamantine.errors import BackendError
from adamantine.optim.step.matrices.batch import Batch, has_rows_apart
from adamantine.optim.step.updates.choice import Kernels
from adamantine.optim.step.updates.member import Member
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.step.updates.tables import AnyTable
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.optim.usage.labels import label
from adamantine.optim.usage.matrices import flat_shape
from adamantine.rules import Family

Group = dict[str, Any]

ELEMENTS = 1 << 24
"""At most so many in a batch of more than one tensor: products of matrices so large keep a device
busy, and the directions of one batch at a time are all the memory that is kept beside states."""


class MatrixUpdates:
    """Members in batches of one shape.

    Their directions are kept from step to step, for tables read addresses that they know faster
    than others, and fresh memory has to be cleared by the system first. All batches of a device and
    dtype have the same memory for them, one after the other.

    Parameters
    ----------
    members
        All with a rule that has ``matrices``.
    kernels_of
        By a member's id, whose kernels take it.
    in_lists
        The ids of those that torch's lists take.
    scalars
        The step's.
    family, groups, owner
        The optimizer's.

    Raises
    ------
    BackendError
        For a parameter that is no ordinary tensor, or one of many processes.
    """

    def __init__(
        self,
        members: Sequence[Member],
        kernels_of: Mapping[int, Kernels | None],
        in_lists: Collection[int],
        scalars: Scalars,
        family: Family,
        groups: list[Group],
        owner: str,
    ) -> None:
        self.members, self._scalars = members, scalars
        for member in members:
            _check(member, groups, owner)
        alike: dict[Any, list[Member]] = {}
        for member in members:
            whole = flat_shape(member.param, groups[member.group])
            kernels = kernels_of[id(member)] if has_rows_apart(member.param, whole) else None
            shape = whole[1:]
            place = member.param.device, member.param.dtype
            kind = *place, kernels, id(member) in in_lists, member.counts_on_device
            alike.setdefault((*kind, member.group, member.treatment, shape), []).append(member)
        batches = [(key, some) for key, same in alike.items() for some in _in_runs(same)]
        needed: dict[Any, int] = {}
        for (*place, _, _, _, _, _, _), some in batches:
            elements = sum(m.param.numel() for m in some)
            needed[tuple(place)] = max(elements, needed.get(tuple(place), 0))
        memory = {
            (device, dtype): torch.zeros(elements, device=device, dtype=dtype)
            for (device, dtype), elements in needed.items()
        }
        self._batches = [
            Batch(
                some,
                _matrices(memory[device, dtype], some, groups[group], shape),
                kernels,
                listed,
                scalars,
                family,
                groups,
                owner,
            )
            for (device, dtype, kernels, listed, _, group, _, shape), some in batches
        ]

    def refresh(self, grad_of: Callable[[Tensor], Any]) -> bool:
        """Look at all tensors, with this step's gradients; False where one is another."""
        constant = self._scalars.constant
        return all(batch.refresh(grad_of, constant) for batch in self._batches)

    def run(self, zero_grads: bool, decision: Tensor | None) -> None:
        """Do a step; :meth:`refresh` comes before, each time."""
        for batch in self._batches:
            batch.run(zero_grads, decision)

    def tables(self) -> list[AnyTable]:
        """Those that read gradients."""
        found = (batch.reading_table for batch in self._batches)
        return [table for table in found if table is not None]

    def by_torch(self, grad_of: Callable[[Tensor], Any]) -> list[tuple[Tensor, Tensor]]:
        """The parameters that no table reads gradients of, with these."""
        members = (m for b in self._batches if b.reading_table is None for m in b.members)
        pairs = ((m.param, grad_of(m.param)) for m in members)
        return [(param, grad) for param, grad in pairs if grad is not None]

    def release(self) -> None:
        """Let go of the gradients, where no step follows."""
        for batch in self._batches:
            batch.release()


def _check(member: Member, groups: list[Group], owner: str) -> None:
    param = member.param
    if member.part is not None:
        raise BackendError(
            f"{owner} takes whole matrices, and {label(groups, param)} is a DTensor, of which each "
            "process has a part: use it without sharding, or another optimizer"
        )
    if has_own_dispatch(param) and observer() is None:
        raise BackendError(
            f"{owner} takes ordinary tensors, and {label(groups, param)} is a "
            f"{type(param).__name__}"
        )
    if groups[member.group].get(BY_AUTOGRAD):
        raise BackendError(f"{owner} does not support differentiable=True; leave it out")


def _in_runs(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Members in batches of at most `ELEMENTS`, or of one."""
    some: list[Member] = []
    elements = 0
    for member in members:
        elements += member.param.numel()
        if some and elements > ELEMENTS:
            yield some
            some, elements = [], member.param.numel()
        some.append(member)
    yield some


def _matrices(
    memory: Tensor, members: Sequence[Member], group: Group, shape: tuple[int, int]
) -> Tensor:
    count = sum(flat_shape(member.param, group)[0] for member in members)
    elements = sum(member.param.numel() for member in members)
    return memory[:elements].view(count, *shape)
