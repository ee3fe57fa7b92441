"""The table that members get, from the backend that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adamantine.optim.step.choice import Kernels
from adamantine.optim.step.member import Member

if TYPE_CHECKING:
    from adamantine.backends.cpu.table.table import Table
    from adamantine.backends.gpu.table import Table as DeviceTable


def make_table(
    members: Sequence[Member], kernels: Kernels | None, owner: str
) -> Table | DeviceTable:
    """A table of members that have their rule, formats and device in common.

    `owner` is the optimizer's name, for messages.
    """
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
