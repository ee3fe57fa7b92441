"""Which parameters the compiled kernels take, and why the others are left to torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.layout import overlapping
from adamantine.errors import BackendError
from adamantine.rules import Family

if TYPE_CHECKING:
    from adamantine.optim.plan import Member

Group = dict[str, Any]
BY_AUTOGRAD, CAPTURABLE = "differentiable", "capturable"


def select_for_kernels(
    members: Sequence[Member], groups: list[Group], backend: BackendName, family: Family
) -> list[bool]:
    """Which members the compiled kernels take; `members` in the order they are updated."""
    refusals = [_refusal(m, groups[m.group], backend, family) for m in members]
    if backend == "cpu":
        for reason in refusals:
            if reason is not None:
                raise BackendError(
                    f"backend='cpu' takes dense real tensors in main memory, and a parameter is "
                    f"{reason}; use backend='auto'"
                )
    takers = [i for i, reason in enumerate(refusals) if reason is None]
    if not takers:
        return [False] * len(members)
    written = [
        (members[i].param, *(members[i].state[name] for name in members[i].rule.states))
        for i in takers
    ]
    # Shared memory means one update after the other, which is how the reference runs.
    one_by_one = {takers[i] for i in overlapping(written)}
    return [reason is None and i not in one_by_one for i, reason in enumerate(refusals)]


def _refusal(member: Member, group: Group, backend: BackendName, family: Family) -> str | None:
    param = member.param
    if group.get(CAPTURABLE):
        _refuse_capturable(param, family)
    if backend == "reference":
        return "for the reference"
    if group.get(BY_AUTOGRAD):
        return "in a group with differentiable=True"
    if not param.is_cpu:
        return f"on {param.device}"
    from adamantine.backends.cpu.table import refusal

    return refusal(param)


def _refuse_capturable(param: Tensor, family: Family) -> None:
    if param.is_cpu:
        # The type and words of torch.optim on the CPU.
        named = ["params", *(f"{name}s" for name in family.counters[1:])]
        raise AssertionError(
            f"If capturable=True, {', '.join(named)} and state_steps must be on supported devices: "
            "['cuda', 'xpu', 'hpu', 'privateuseone', 'xla']."
        )
    raise BackendError(
        f"capturable=True is not supported on {param.device} yet: the step count lives on the "
        "host; use capturable=False, or torch.optim inside CUDA graphs"
    )
