"""What happens to the matrices of a batch between its two updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.optim.step.matrices.newton_schulz import fast_dtype, orthogonalized
from adamantine.optim.step.matrices.rows import with_equal_rows
from adamantine.optim.step.updates.member import Member
from adamantine.rules import Settings


class Between:
    """Makes other matrices of directions, in their place.

    Parameters
    ----------
    members
        Whose matrices they are.
    directions
        ``(B, rows, columns)``; `slices` are those of each member, in its shape.
    settings
        The group's.
    """

    turns = False
    """Whether the first update reads other gradients than the parameters'."""

    def __init__(
        self,
        members: Sequence[Member],
        directions: Tensor,
        slices: Sequence[Tensor],
        settings: Settings,
    ) -> None:
        self.members, self.settings = members, settings
        self.directions, self.slices = directions, slices
        assert members[0].rule.matrices is not None
        self.states = members[0].rule.matrices.states

    def gradients(self, grads: list[Any]) -> list[Any]:
        """What the first update reads in a step with these gradients."""
        return grads

    def begin(self, grads: Sequence[Any]) -> None:
        """Before the first update."""

    def make(self, taking_part: Sequence[bool], decision: Tensor | None) -> None:
        """Between the two; a device may leave the step out by its `decision`."""
        raise NotImplementedError

    def end(self, grads: Sequence[Any], factor: float) -> None:
        """After the second one, of gradients times a factor."""


class Orthogonal(Between):
    """Muon's: matrices with singular values of about one."""

    def make(
        self,
        taking_part: Sequence[bool],  # noqa: ARG002 - it keeps nothing
        decision: Tensor | None,  # noqa: ARG002
    ) -> None:
        """All at once, whoever takes part."""
        self.directions.copy_(self._orthogonalized())

    def _orthogonalized(self) -> Tensor:
        settings = self.settings
        wanted = settings.get("ns_dtype")
        dtype = getattr(torch, wanted) if wanted else fast_dtype(self.directions.device.type)
        how = settings["ns_coefficients"], settings["ns_steps"], settings["eps"]
        return orthogonalized(self.directions, *how, dtype)


class NorMuon(Orthogonal):
    """The same with rows of one length, on average."""

    def make(self, taking_part: Sequence[bool], decision: Tensor | None) -> None:
        """All at once; averages are of those that take part."""
        matrices, name = self._orthogonalized(), self.states[0]
        kept = [member.state[name] for member in self.members]
        before = torch.cat([each.reshape(-1) for each in kept]).view(*matrices.shape[:-1], 1)
        found, after = with_equal_rows(matrices, before, self.settings["normuon_beta2"])
        self.directions.copy_(found)
        if decision is not None:
            after = torch.where(decision[1].to(after.device) != 0, after, before)
        parts = torch.split(after.view(-1), [each.numel() for each in kept])
        for each, part, takes_part in zip(kept, parts, taking_part, strict=True):
            if takes_part:
                each.copy_(part.view(each.shape))
