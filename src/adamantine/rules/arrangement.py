"""The order of a rule's arguments, where some are for rows and columns: what its loops expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adamantine.rules.rule import Factor, Rule, per_column, per_row

ROWS, COLUMNS = frozenset(["rows"]), frozenset(["columns"])
_OF_SHAPE: dict[Any, frozenset[str]] = {per_row: ROWS, per_column: COLUMNS}


def axes_of(rule: Rule, names: Sequence[str]) -> frozenset[str]:
    """Along which dimensions what is made of these arguments differs."""
    found = frozenset[str]()
    for name in names:
        if name in rule.shapes:
            found |= _OF_SHAPE[rule.shapes[name]]
        elif name in rule.tensors:
            found |= ROWS | COLUMNS
        else:
            found = found.union(*(_axes_of(rule, f) for f in rule.factors if f.decides == name))
    return found


def _axes_of(rule: Rule, factor: Factor) -> frozenset[str]:
    return axes_of(rule, factor.arguments) & {factor.along}


def is_of_elements(rule: Rule, factor: Factor) -> bool:
    """Whether a factor sums up something of each element, and not of rows or columns."""
    return axes_of(rule, factor.arguments) == ROWS | COLUMNS


@dataclass(frozen=True)
class Arrangement:
    """How a function of one element is called from a loop over a matrix.

    Parameters
    ----------
    tensors
        The arguments that differ from element to element.
    lead
        How many of them come before the others.
    rows, columns
        States with a number for each row, and for each column.
    numbers
        Scalars that factors decide, for a row or a matrix.
    place
        Where they are among all scalars.
    """

    tensors: tuple[str, ...]
    lead: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    place: int

    def switches(self) -> dict[str, Any]:
        """What the loops have to know."""
        return {
            "LEAD": self.lead,
            "DOWN": len(self.rows) + len(self.numbers),
            "BESIDE": len(self.rows),
            "PLACE": self.place,
            "BEHIND": self.place + len(self.numbers),
            "ACROSS": len(self.columns),
            "KNOWN": 2 + len(self.rows) + len(self.numbers) + len(self.columns),
            "RESULTS": 1 + len(self.rows) + len(self.columns),
        }


def arrangement(rule: Rule, arguments: Sequence[str]) -> Arrangement | None:
    """That of a function with these arguments; None where the loops cannot call it."""
    tensors = [name for name in arguments if name in rule.tensors]
    scalars = [name for name in arguments if name not in rule.tensors]
    rows = tuple(n for n in tensors if rule.shapes.get(n) is per_row)
    columns = tuple(n for n in tensors if rule.shapes.get(n) is per_column)
    full = tuple(n for n in tensors if n not in rule.shapes)
    decided = {factor.decides for factor in rule.factors}
    numbers = tuple(n for n in scalars if n in decided)
    lead = sum(name in ("param", "grad") for name in tensors)
    place = scalars.index(numbers[0]) if numbers else 0
    found = Arrangement(full, lead, rows, columns, numbers, place)
    in_order = (
        tensors == [*full[:lead], *rows, *columns, *full[lead:]]
        and scalars[place : place + len(numbers)] == list(numbers)
        and axes_of(rule, numbers) <= ROWS
    )
    return found if in_order and rows and columns else None


def arrangements(rule: Rule) -> list[Arrangement] | None:
    """Those of a rule's update and of what its sums are of; None where the loops cannot run it."""
    if not set(rule.shapes.values()) <= _OF_SHAPE.keys():
        return None
    decided = {factor.decides for factor in rule.factors}
    functions = [(*rule.tensors, *rule.scalars)]
    functions += [rule.sums.arguments] if rule.sums is not None else []
    found = [arrangement(rule, arguments) for arguments in functions]
    known = decided >= rule.shapes.keys() and all(
        axes_of(rule, f.arguments) in (ROWS, COLUMNS) or is_of_elements(rule, f)
        for f in rule.factors
    )
    arranged = [each for each in found if each is not None]
    return arranged if known and len(arranged) == len(found) else None
