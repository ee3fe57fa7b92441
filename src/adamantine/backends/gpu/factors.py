"""Numbers for rows and columns on a device, which a rule has to know before its sums and update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends import reference
from adamantine.backends.gpu.streams import keep_for_graph
from adamantine.rules import Rule
from adamantine.rules.arrangement import ROWS, Arrangement, arrangements, axes_of


class Factors:
    """What a rule's factors are, of all matrices of a table; torch makes them, and nobody waits.

    Parameters
    ----------
    rule
        With factors that :func:`.arrangements` lets pass.
    params, states
        The matrices, and the dictionaries of their states.

    Attributes
    ----------
    addresses
        Where kernels find the numbers (:mod:`.kernel.vectors`): for the ``"update"``, and for the
        rule's ``"sums"``.
    """

    def __init__(
        self, rule: Rule, params: Sequence[Tensor], states: Sequence[dict[str, Any]]
    ) -> None:
        self._rule, self._params, self._states = rule, params, states
        found = arrangements(rule)
        assert found is not None
        self._device = params[0].device
        dtype = torch.float64 if params[0].dtype == torch.float64 else torch.float32
        names = [*rule.shapes, *found[0].numbers]
        self._vectors = [
            {name: self._empty(rule, name, p).to(dtype) for name in names} for p in params
        ]
        self.addresses = {
            of: self._addresses(arranged)
            for of, arranged in zip(("update", "sums"), found, strict=False)
        }

    def _empty(self, rule: Rule, name: str, param: Tensor) -> Tensor:
        *batch, rows, columns = param.shape
        of_rows = axes_of(rule, [name]) <= ROWS  # a matrix's number is there for each of its rows
        shape = (*batch, rows, 1) if of_rows else (*batch, 1, columns)
        return torch.zeros(shape, device=param.device)

    def _addresses(self, arranged: Arrangement) -> Tensor:
        names = *arranged.rows, *arranged.numbers, *arranged.columns
        table = [
            [*(max(1, size) for size in param.shape[-2:]), *(own[n].data_ptr() for n in names)]
            for param, own in zip(self._params, self._vectors, strict=True)
        ]
        return torch.tensor(table, dtype=torch.int64, device="cpu").to(self._device)

    @torch.no_grad()
    def find(
        self, grads: Sequence[Any], sent: Any, decision: Tensor, rows: NDArray[np.int64]
    ) -> None:
        """Decide all factors of those that take part; states stay as they are."""
        keep_for_graph(self._device, self._vectors, self.addresses)
        rule = self._rule
        scalars = sent.scalars.index_select(0, sent.rows.clamp(min=0))
        for t in np.flatnonzero(rows >= 0).tolist():
            own = dict(zip(rule.scalars, scalars[t].unbind(), strict=True))
            own["sign"] = own["sign"] * decision[0]
            tensors = [self._params[t], grads[t]]
            tensors += [self._states[t][name] for name in rule.states]
            found, known = reference.factored(rule, reference.computed_with(tensors), own)
            known |= dict(zip(rule.tensors, found, strict=True))
            for name, vector in self._vectors[t].items():
                vector.copy_(known[name])

    @torch.no_grad()
    def write(self, decision: Tensor, rows: NDArray[np.int64]) -> None:
        """Leave what was found in the states of those that take part, where the step is done."""
        done = decision[1] != 0
        for t in np.flatnonzero(rows >= 0).tolist():
            for name in self._rule.shapes:
                state = self._states[t][name]
                state.copy_(torch.where(done, self._vectors[t][name].to(state.dtype), state))
