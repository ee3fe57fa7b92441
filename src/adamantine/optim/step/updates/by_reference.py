"""The update of one parameter by the reference backend, which is torch's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adamantine.backends import reference
from adamantine.codecs import noise
from adamantine.optim.step.updates.member import Member


def update_by_reference(
    member: Member,
    grad: Tensor,
    scalars: Mapping[str, Any],
    differentiable: bool,
    decided: float | None,
) -> None:
    """Do a step that its counter counts already; of a DTensor, `grad` is as `here`."""
    treated, state = member.treatment, member.state_here
    if treated.plain:
        reference.update(
            member.rule,
            member.here,
            grad,
            [state[name] for name in member.rule.states],
            scalars,
            differentiable=differentiable,
            decided=decided,
        )
    else:
        reference.update_kept(
            member.rule,
            treated.formats,
            member.here,
            grad,
            state,
            scalars,
            noise.key_of(member.stream, int(state["step"])),
            decided=decided,
            places=member.places(),
        )
    if member.part is not None:
        torch.autograd.graph.increment_version([member.param])


@torch.no_grad()
def sums_by_reference(member: Member, grad: Tensor, scalars: Mapping[str, Any]) -> list[float]:
    """What the rule's sums are, of the elements that are here."""
    states = reference.opened(member.rule, member.treatment.formats, member.state_here)
    return reference.sums(member.rule, member.here, grad, states, scalars)
