"""Members that kernels update, in tables of the backend that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from adamantine.optim.step.travel import Travel
from adamantine.optim.step.updates.choice import Kernels
from adamantine.optim.step.updates.member import Member, Totals
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.usage.hints import refuse_capture

if TYPE_CHECKING:
    from adamantine.backends.cpu.table.table import Table
    from adamantine.backends.gpu.table import Table as DeviceTable

AnyTable: TypeAlias = "Table | DeviceTable"


def make_tables(
    members: Sequence[Member],
    kernels_of: Mapping[int, Kernels | None],
    travel: Travel | None,
    owner: str,
) -> list[AnyTable]:
    """A table for all members that have their rule, formats and device in common.

    Parameters
    ----------
    members
        Those that kernels take.
    kernels_of
        By a member's id, whose.
    travel
        What brings parameters from elsewhere, in buckets; tables are in the order of these.
    owner
        The optimizer's name, for messages.
    """
    alike: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        bucket = 0 if travel is None else travel.bucket(member.param)
        kind = member.treatment, member.here.device, member.counts_on_device
        alike.setdefault((bucket, *kind), []).append(member)
    in_order = sorted(alike.items(), key=lambda item: item[0][0])
    return [_make_table(same, kernels_of[id(same[0])], owner) for _, same in in_order]


def _make_table(members: Sequence[Member], kernels: Kernels | None, owner: str) -> AnyTable:
    treated = members[0].treatment
    given = (
        treated.rule,
        treated.formats,
        [m.here for m in members],
        [m.state_here for m in members],
        treated.counters,
        [m.fresh for m in members],
        [m.group for m in members],
        [m.stream for m in members],
        owner,
        [m.part for m in members],
    )
    # Each brings a compiler along.
    if kernels == "gpu":
        from adamantine.backends.gpu.table import Table as DeviceTable

        return DeviceTable(*given, counts_on_device=members[0].counts_on_device)
    from adamantine.backends.cpu.table.table import Table

    return Table(*given)


def prepare(table: DeviceTable, scalars: Scalars, owner: str) -> None:
    """Send a step's numbers to a device, which then may decide over it."""
    if not table.repeats:
        refuse_capture(table.wholes[:1], owner)
    of = scalars.of_on_device if table.counts_on_device else scalars.of
    table.prepare(of(table.computed_as))


def sums_of(table: AnyTable, scalars: Scalars) -> dict[int, list[float]]:
    """The sums that the table's rule needs, of what is here of each tensor, by its id."""
    if table.on_device:
        return table.sums(_on(table.device, scalars.factor, None))
    return table.sums(scalars.of(table.computed_as))


def run(
    table: AnyTable,
    scalars: Scalars,
    zero_grads: bool,
    collect_stats: bool,
    totals: Totals | None,
    decision: Tensor | None,
) -> None:
    """Do a step, as the table's own ``run`` says; `decision` is that of a device, where it is."""
    if table.on_device:
        there = _on(table.device, scalars.factor, decision)
        table.run(zero_grads, collect_stats, totals, there, scalars.shared)
    else:
        table.run(scalars.of(table.computed_as), zero_grads, collect_stats, totals)


def _on(device: torch.device, factor: float, decision: Tensor | None) -> Tensor | None:
    """A decision on `device`; None where the step is done with gradients as they are."""
    if decision is not None:
        return decision.to(device, non_blocking=True)
    return None if factor == 1 else torch.tensor([factor, 1.0], dtype=torch.float64, device=device)
