"""Members that torch's operations update: in lists where that can be, each alone where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.optim.step.updates.by_lists import ListUpdates
from adamantine.optim.step.updates.by_reference import update_by_reference
from adamantine.optim.step.updates.member import Member, Totals
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.usage.hints import BY_AUTOGRAD

Group = dict[str, Any]


class TorchUpdates:
    """Members of a plan that no kernel takes.

    Parameters
    ----------
    in_lists
        Those of them that go into lists.
    groups
        The optimizer's.
    counters
        What the family counts beside the step.
    """

    def __init__(
        self, in_lists: Sequence[Member], groups: list[Group], counters: Sequence[str]
    ) -> None:
        self._lists = ListUpdates(in_lists, counters)
        self._groups, self._counters = groups, counters

    def hold(self) -> bool:
        """Whether all tensors of lists are where they were."""
        return self._lists.hold()

    def run(
        self,
        members: Sequence[tuple[Member, Tensor | None]],
        scalars: Scalars,
        totals: Totals | None,
    ) -> None:
        """Do a step of those that have a gradient, and count it."""
        pairs = [(member, grad) for member, grad in members if grad is not None]
        in_lists = [pair for pair in pairs if pair[0] in self._lists]
        if in_lists:
            self._lists.run(in_lists, scalars, totals)
        for member, grad in pairs:
            if member not in self._lists:
                self._run_alone(member, grad, scalars, totals)

    def _run_alone(
        self, member: Member, grad: Tensor, scalars: Scalars, totals: Totals | None
    ) -> None:
        differentiable = bool(self._groups[member.group].get(BY_AUTOGRAD))
        with torch.set_grad_enabled(differentiable):
            found = scalars.next(member, differentiable)
            decided = member.decided(totals, found)
            update_by_reference(member, grad, found, differentiable, decided)
            for name in self._counters:
                member.state[name].fill_(found[name])
