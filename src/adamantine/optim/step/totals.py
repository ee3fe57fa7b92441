"""What a step adds up before its update: over processes, and over all parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from adamantine.optim.step.sharded import Sharded
from adamantine.optim.step.updates.by_reference import sums_by_reference
from adamantine.optim.step.updates.member import Member, Totals
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.step.updates.tables import AnyTable, sums_of
from adamantine.rules import Family, Sums

Group = dict[str, Any]


def shared_sums(family: Family, groups: Sequence[Group]) -> Sums | None:
    """The sums over all parameters that the family's rules ask for, if they do."""
    rules = map(family.select, groups)
    return next((rule.shared_sums for rule in rules if rule.shared_sums), None)


def totals_of(
    columns: int,
    tables: Sequence[AnyTable],
    others: Sequence[tuple[Member, Tensor | None]],
    scalars: Scalars,
    sharded: Sharded | None,
) -> Totals:
    """The sums of each whole tensor.

    Parameters
    ----------
    columns
        How many sums a tensor has at most.
    tables, others
        What kernels update, refreshed, and what torch does, with gradients.
    scalars
        Those of the step.
    sharded
        The DTensors, of which other processes have parts.
    """
    found: dict[int, list[float]] = {}
    for table in tables:
        found |= sums_of(table, scalars)
    for member, grad in others:
        # No process has a part of a matrix with factors.
        if grad is not None and member.rule.sums is not None and not member.rule.factors:
            found[id(member.param)] = sums_by_reference(member, grad, scalars.coming(member))
    return found if sharded is None else found | sharded.totals(found, columns, exact=True)


def decided(
    sums: Sums, totals: Totals, groups: Sequence[Group], scalars: Scalars
) -> Mapping[str, Any]:
    """The settings that sums over all parameters decide.

    They are added up in the order of parameters, whatever is going to update these.
    """
    found = []
    for group in groups:
        rows = [totals[id(param)] for param in group["params"] if id(param) in totals]
        columns = [sum(row[i] for row in rows) for i in range(len(sums.names))]
        found.append(dict(zip(sums.names, columns, strict=True)))
    settings = [scalars.settings(index) for index in range(len(groups))]
    following: Mapping[str, Any] = sums.value(settings, found)
    return following
