"""The pointer table: many tensors that one rule updates in one kernel call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu import pool
from adamantine.backends.cpu.kernel import compiled
from adamantine.backends.cpu.probe import STAGE, Sheet, advance_steps
from adamantine.backends.layout import check_gradient, has_own_dispatch, is_dense
from adamantine.rules import Rule

CHUNK = 65_536
"""Elements a chunk: 256 KiB a tensor, so that a chunk's tensors sit in the second-level cache."""

SERIAL_BELOW = 524_288
"""Elements below which waking a second thread costs more than it saves (0.05 to 0.1 ms)."""

PIECES_PER_THREAD = 4

ScalarsOf = Callable[[int, float], Mapping[str, Any]]
"""(group, step) to the rule's host scalars by name."""


def refusal(param: Tensor) -> str | None:
    """Why this backend cannot update `param`, or None where it can."""
    if has_own_dispatch(param):
        return f"a {type(param).__name__}, which has no memory of its own"
    if not param.is_cpu or param.layout != torch.strided:
        return f"a {param.layout} tensor on {param.device}"
    if param.dtype != torch.float32:
        return f"of dtype {param.dtype}"
    if param.is_neg():
        return "a view with a lazy minus sign"
    if not is_dense(param):
        return f"a view with gaps or overlaps (shape {tuple(param.shape)}, stride {param.stride()})"
    return None


class Table:
    """Tensors, cut into chunks, and the scalars of the groups they belong to.

    Parameters
    ----------
    rule
        The update they all get.
    params, states
        ``T`` parameters that :func:`refusal` lets pass, and for each its states in the rule's
        order, of the same shape and strides. No two share memory (see :func:`overlapping`).
    steps
        Their ``step`` tensors (float32, 0-dimensional), or None where the rule's family keeps none;
        then `fresh` says which of them have their first step ahead.
    groups
        The parameter group of each.
    owner
        The optimizer's name, for messages.
    """

    def __init__(
        self,
        rule: Rule,
        params: list[Tensor],
        states: list[tuple[Tensor, ...]],
        steps: list[Tensor] | None,
        fresh: list[bool],
        groups: list[int],
        owner: str,
    ) -> None:
        self._rule = rule
        self._params = params
        by_state = [list(column) for column in zip(*states, strict=True)] if rule.states else []
        self._groups = sorted(set(groups))
        columns: list[list[Any]] = [params, *by_state, *([] if steps is None else [steps])]
        self._sheet = Sheet(columns, np.searchsorted(self._groups, groups), steps is not None)
        if steps is None:
            self._sheet.steps[:] = np.where(fresh, 1.0, 2.0)
        self._chunks = _cut([p.numel() for p in params])
        self._elements = np.cumsum(np.append(0, self._chunks[:, 2]))
        self._kernel = compiled(rule)
        self._pieces: tuple[int, list[tuple[int, int]]] = (0, [])
        self._owner = owner
        self._grads: list[Any] = []

    def refresh(self, grads: list[Any]) -> bool:
        """Read the addresses of everything, with this step's gradients (None for none).

        False when a tensor is no longer what the table was built for: build another. Nothing has
        been written then.
        """
        worst = self._sheet.probe(grads)
        if worst == STAGE:
            grads = self._staged(grads)
            worst = self._sheet.probe(grads)
        # Their addresses are in use until the kernel returns; after that we must not hold them, or
        # zero_grad() would free no memory.
        self._grads = grads
        return worst < STAGE

    def _staged(self, grads: list[Any]) -> list[Any]:
        """Gradients in the layout of their parameters, copied where they are not.

        Two tensors are walked side by side by address, so their strides must agree: the gradient
        of a channels-last weight is often contiguous.
        """
        staged = list(grads)
        for t in np.flatnonzero(self._sheet.status == STAGE):
            param, grad = self._params[t], grads[t]
            check_gradient(self._owner, param, grad)
            staged[t] = torch.empty_like(param, requires_grad=False).copy_(grad.detach())
        return staged

    def run(self, scalars_of: ScalarsOf) -> None:
        """Update every tensor that has a gradient; :meth:`refresh` comes before, each time."""
        sheet = self._sheet
        scalars = self._scalars(scalars_of)
        arguments = (sheet.addresses, self._chunks, sheet.rows, scalars)
        threads = torch.get_num_threads()
        if threads == 1 or self._elements[-1] < SERIAL_BELOW:
            self._kernel(*arguments, 0, len(self._chunks))
        else:
            pool.run(
                lambda start, stop: self._kernel(*arguments, start, stop),
                self._split(threads),
                threads,
            )
        if sheet.counted:
            advance_steps(sheet.addresses, sheet.rows)
        else:
            sheet.steps[sheet.rows >= 0] = 2.0
        # Compiled code writes behind autograd's back: tell it, or a second backward through the
        # old values would pass unnoticed.
        torch.autograd.graph.increment_version(
            self._params
            if sheet.complete
            else [p for p, row in zip(self._params, sheet.rows, strict=True) if row >= 0]
        )
        self._grads = []

    def _scalars(self, scalars_of: ScalarsOf) -> NDArray[np.float64]:
        """One row of scalars for each (group, step) that occurs; points the tensors to theirs."""
        sheet = self._sheet
        steps = sheet.steps
        if sheet.complete and sheet.common_step:
            keys: Any = [(group, steps[0]) for group in range(len(self._groups))]
        else:
            active = np.flatnonzero(sheet.rows >= 0)
            pairs = np.stack([sheet.rows[active], steps[active]], axis=1)
            keys, inverse = np.unique(pairs, axis=0, return_inverse=True)
            sheet.rows[active] = inverse
        names = self._rule.scalars
        scalars = np.empty((len(keys), len(names)))
        for row, (group, step) in enumerate(keys):
            values = scalars_of(self._groups[int(group)], float(step))
            scalars[row] = [values[name] for name in names]
        return scalars

    def _split(self, threads: int) -> list[tuple[int, int]]:
        """Ranges of chunks of about equal numbers of elements."""
        if self._pieces[0] != threads:
            shares = np.linspace(0, self._elements[-1], PIECES_PER_THREAD * threads + 1)
            bounds = np.unique(np.searchsorted(self._elements, shares)).tolist()
            self._pieces = threads, list(pairwise(bounds))
        return self._pieces[1]


def _cut(sizes: list[int]) -> NDArray[np.int64]:
    """Chunks as rows of (tensor, offset, length)."""
    rows = [
        (tensor, offset, min(CHUNK, size - offset))
        for tensor, size in enumerate(sizes)
        for offset in range(0, size, CHUNK)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)
