"""Which parameters the compiled kernels take, which lists, and why the others do not go there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.compiling import has
from adamantine.backends.gpu import availability
from adamantine.backends.layout import overlapping
from adamantine.backends.modes import observer
from adamantine.errors import BackendError
from adamantine.optim.state.precision import Treatment
from adamantine.optim.step.updates.by_lists import refusal, select_for_lists
from adamantine.optim.step.updates.member import Member
from adamantine.optim.usage.hints import BY_AUTOGRAD, CAPTURABLE
from adamantine.rules.arrangement import arrangements

Group = dict[str, Any]
Kernels = Literal["cpu", "gpu"]

_TAKES = {
    "cpu": "dense tensors in main memory",
    "gpu": "dense tensors on a GPU",
}


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
) -> list[Kernels | None]:
    """Whose compiled kernels take each member; `members` in the order they are updated.

    Raises
    ------
    BackendError
        Where the backend that was asked for cannot take one, or it has to be captured in a graph
        and cannot.
    """
    found: list[Kernels | None] = []
    for member in members:
        kernels, reason = _kernels_for(member, groups[member.group], backend)
        if reason is not None and backend in _TAKES:
            raise BackendError(
                f"backend={backend!r} takes {_TAKES[backend]}, and a parameter is {reason}; use "
                "backend='auto'"
            )
        if kernels is None and groups[member.group].get(CAPTURABLE) and not member.here.is_cpu:
            why = (
                f"backend={backend!r} leaves them out"
                if backend in ("lists", "reference")
                else f"these do not take a parameter that is {reason}"
            )
            raise BackendError(
                f"capturable=True needs the kernels for GPUs, and {why}; use capturable=False, or "
                "torch.optim inside CUDA graphs"
            )
        found.append(kernels)
    written = [
        (member.here, *(member.state_here[name] for name in member.rule.states))
        for member, kernels in zip(members, found, strict=True)
        if kernels is not None
    ]
    takers = [i for i, kernels in enumerate(found) if kernels is not None]
    # Shared memory means one update after the other, which is how the reference runs.
    for i in overlapping(written):
        found[takers[i]] = None
    return found


def counts_on_device(
    treated: Treatment,
    param: Tensor,
    group: Group,
    state: Mapping[str, Any],
    backend: BackendName,
    may_skip: bool,
) -> bool:
    """Whether a parameter's steps are counted where it is, and the host does not know them.

    Where a graph repeats steps, or the device decides whether one is done; where a setting is
    there, for which the host would have to wait; and where somebody has put the count there.
    """
    by_kernels = backend == "gpu" or (backend == "auto" and not param.is_cpu)
    rule = treated.rule
    if rule.matrices is not None and rule.matrices.by_count:
        return False
    if not by_kernels or refusal_of_gpu(param) or refusal_of_shapes(treated, param):
        return False
    step = state.get("step")
    settings = (group["lr"], group.get("weight_decay"), *group.get("betas", ()))
    is_there = isinstance(step, Tensor) and not step.is_cpu
    is_there |= any(
        isinstance(value, Tensor) and value.device == param.device for value in settings
    )
    return bool(group.get(CAPTURABLE)) or may_skip or is_there


def refusal_of_gpu(param: Tensor) -> str | None:
    """Why the kernels for accelerators cannot take a parameter, or None where they can."""
    if (reason := availability.refusal(param.device)) is not None:
        return reason
    from adamantine.backends.gpu import table

    return table.refusal(param)


def _kernels_for(
    member: Member, group: Group, backend: BackendName
) -> tuple[Kernels | None, str | None]:
    """Whose kernels take a member; or why none do."""
    if backend in ("lists", "reference"):
        return None, f"for {backend}"
    if (seen_by := observer()) is not None:
        return None, f"seen by {seen_by}, which compiled kernels would bypass"
    if group.get(BY_AUTOGRAD):
        return None, "in a group with differentiable=True"
    kernels: Kernels = "gpu" if backend == "gpu" or not member.here.is_cpu else "cpu"
    if backend == "cpu" and kernels == "gpu":
        return None, f"on {member.here.device}"
    reason = refusal_of_gpu(member.here) if kernels == "gpu" else refusal_of_cpu(member.here)
    if reason is None:
        reason = refusal_of_shapes(member.treatment, member.here)
    return (kernels, None) if reason is None else (None, reason)


def refusal_of_cpu(param: Tensor) -> str | None:
    """Why the kernels for main memory cannot take a parameter, or None where they can."""
    if not has("numba"):
        return "there, and Numba, which compiles kernels for it, is not (pip install numba)"
    from adamantine.backends.cpu.table import table

    return table.refusal(param)


def refusal_of_shapes(treated: Treatment, param: Tensor) -> str | None:
    """Why no kernels can take a parameter with states of other shapes, or None where they can."""
    rule = treated.rule
    if not rule.shapes or rule.matrices is not None:  # then torch has them, not a kernel
        return None
    if not rule.factors or arrangements(rule) is None:
        return f"one whose {' and '.join(rule.shapes)} are of other shapes, which have no kernels"
    if not treated.plain:
        return "a matrix with numbers for rows and columns, kept in codes or rounded at random"
    if not param.is_contiguous():
        return "a matrix with numbers for rows and columns, and its rows are not contiguous"
    return None
