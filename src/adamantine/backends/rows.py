"""Rows of a table, by torch: gathered, updated by the rule, and put back.

Any device and dtype, any strides. The compiled counterpart for contiguous tables in main memory,
many at once, is :mod:`.cpu.rows.row_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends import reference
from adamantine.backends.missed_steps import MissedSteps
from adamantine.rules import Rule


class Rows:
    """A parameter and its states, as rows that a sparse gradient picks from.

    Parameters
    ----------
    rule
        What updates a row.
    param, states
        The states in the rule's order.
    dims
        How many of the leading dimensions number the rows: the gradient's sparse dimensions.
    """

    def __init__(self, rule: Rule, param: Tensor, states: Sequence[Tensor], dims: int) -> None:
        self._rule, self._shape = rule, param.shape[:dims]
        self._tensors = [param.detach(), *states]

    def update(self, grad: Tensor, scalars: Mapping[str, Any], missed: MissedSteps | None) -> None:
        """Let the rule update the rows of `grad`, once they have caught up on `missed`."""
        grad = grad.coalesce()
        rows = tuple(grad.indices())
        if missed is not None:
            numbers = self._numbers(rows)
            self.catch_up(missed, numbers)
            missed.last[numbers] = missed.now + 1
        self._run(rows, grad.values(), scalars)

    def catch_up(self, missed: MissedSteps, numbers: Tensor | None = None) -> bool:
        """Let rows (all, or those numbered, twice or not) do the steps that they missed.

        Returns whether there were any.
        """
        if numbers is None:
            numbers = (missed.last < missed.now).nonzero()[:, 0]
        else:
            numbers = torch.unique(numbers[missed.last[numbers] < missed.now])
        waited = len(numbers) > 0
        while len(numbers) > 0:
            fine = self._leap(missed, numbers)
            missed.last[numbers[fine]] = missed.now
            # What has no closed form from where it stands does one step, and is looked at again.
            numbers = numbers[~fine]
            self._step(missed, numbers)
            missed.last[numbers] += 1
            numbers = numbers[missed.last[numbers] < missed.now]
        return waited

    def record(self, missed: MissedSteps, scalars: Mapping[str, Any]) -> None:
        """Add the step that was just done to what waiting rows have missed."""
        advance = reference.bound(missed.catch_up.advance)
        coefficients = reference.bound(missed.catch_up.coefficients)
        step, constant = missed.record(scalars)
        sums = torch.from_numpy(missed.sums[:, : missed.now])
        for row, value in zip(sums, advance(*sums.clone(), *step), strict=True):
            row.copy_(value)
        out = torch.from_numpy(missed.coefficients[:, : missed.now])
        for row, value in zip(out, coefficients(*sums, *constant), strict=True):
            row.copy_(torch.as_tensor(value))

    def _leap(self, missed: MissedSteps, numbers: Tensor) -> Tensor:
        """Catch up those of the rows that have a closed form; returns which they are."""
        form, rows = missed.catch_up, self._indices(numbers)
        apply, covers = reference.bound(form.apply), reference.bound(form.covers)
        columns = [_computable(t[rows]) for t in self._tensors]
        sure, *values = self._of_rows(missed.coefficients, missed.last[numbers])
        fine: Tensor = sure != 0
        fine = fine | torch.as_tensor(covers(*columns, *values), device=numbers.device)
        fine = fine.expand_as(columns[0]).reshape(len(numbers), -1).all(1)
        for tensor, value in zip(self._tensors, apply(*columns, *values), strict=True):
            chosen = tuple(index[fine] for index in rows)
            _real(tensor)[chosen] = value[fine].to(_real(tensor).dtype)
        return fine

    def _step(self, missed: MissedSteps, numbers: Tensor) -> None:
        """Let rows do the one step that comes after the last that each of them has done."""
        values = self._of_rows(missed.history.T, missed.last[numbers])
        scalars = dict(zip(self._rule.scalars, values, strict=True))
        self._run(self._indices(numbers), None, scalars)

    def _of_rows(self, table: NDArray[np.float64], starts: Tensor) -> Tensor:
        """The columns of `table` at `starts`, shaped to meet the elements of the rows."""
        param = _computable(self._tensors[0][:0])
        chosen = torch.from_numpy(table)[:, starts.long().cpu()].to(param)
        return chosen.view(*chosen.shape, *[1] * (param.dim() - len(self._shape)))

    def _run(
        self, rows: tuple[Tensor, ...], grad: Tensor | None, scalars: Mapping[str, Any]
    ) -> None:
        param, *states = (t[rows] for t in self._tensors)
        grad = torch.zeros_like(param) if grad is None else grad
        reference.update(self._rule, param, grad, states, scalars)
        for tensor, value in zip(self._tensors, (param, *states), strict=True):
            tensor[rows] = value

    def _indices(self, numbers: Tensor) -> tuple[Tensor, ...]:
        return torch.unravel_index(numbers, self._shape)

    def _numbers(self, rows: tuple[Tensor, ...]) -> Tensor:
        number = torch.zeros_like(rows[0])
        for index, size in zip(rows, self._shape, strict=True):
            number = number * size + index
        return number


def _real(tensor: Tensor) -> Tensor:
    """Rules take a complex number as two real ones."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _computable(tensor: Tensor) -> Tensor:
    """Sixteen bits are what is kept, not what is computed with."""
    return _real(tensor).float() if tensor.itemsize == 2 else _real(tensor)
