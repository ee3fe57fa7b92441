"""Which parameters the compiled kernels take, which lists, and why the others do not go there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adamantine.backends import BackendName
from adamantine.backends.layout import overlapping
from adamantine.backends.modes import observer
from adamantine.errors import BackendError
from adamantine.optim.step.by_lists import refusal, select_for_lists
from adamantine.optim.step.member import Member
from adamantine.optim.usage.hints import BY_AUTOGRAD

Group = dict[str, Any]


def select_for_torch(
    members: Sequence[Member], groups: list[Group], backend: BackendName
) -> list[Member]:
    """Of those that no kernel takes, the members that lists take; the others are the reference's.

    `members` are in the order they are updated.
    """
    if backend not in ("auto", "lists"):
        return []
    if backend == "lists":
        for member in members:
            if (reason := refusal(member, groups[member.group])) is not None:
                raise BackendError(
                    f"backend='lists' takes ordinary tensors on any device, and a parameter is "
                    f"{reason}; use backend='auto'"
                )
    return select_for_lists(members, groups)


def select_for_kernels(
    members: Sequence[Member], groups: list[Group], backend: BackendName
) -> list[bool]:
    """Which members the compiled kernels take; `members` in the order they are updated."""
    refusals = [_refusal(m, groups[m.group], backend) for m in members]
    if backend == "cpu":
        for reason in refusals:
            if reason is not None:
                raise BackendError(
                    f"backend='cpu' takes dense tensors in main memory, and a parameter is "
                    f"{reason}; use backend='auto'"
                )
    takers = [i for i, reason in enumerate(refusals) if reason is None]
    if not takers:
        return [False] * len(members)
    written = [
        (members[i].here, *(members[i].state_here[name] for name in members[i].rule.states))
        for i in takers
    ]
    # Shared memory means one update after the other, which is how the reference runs.
    one_by_one = {takers[i] for i in overlapping(written)}
    return [reason is None and i not in one_by_one for i, reason in enumerate(refusals)]


def _refusal(member: Member, group: Group, backend: BackendName) -> str | None:
    param = member.here
    if backend in ("reference", "lists"):
        return f"for {backend}"
    if (seen_by := observer()) is not None:
        return f"seen by {seen_by}, which compiled kernels would bypass"
    if group.get(BY_AUTOGRAD):
        return "in a group with differentiable=True"
    if not param.is_cpu:
        return f"on {param.device}"
    from adamantine.backends.cpu.table import table

    return table.refusal(param)
