"""What the tables of all backends have in common: tensors that are looked at before each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.probe.statuses import GRAD, STAGE
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.formats import PAIRS, Format
from adamantine.backends.layout import staged
from adamantine.backends.shards import Part, stretches_of
from adamantine.rules import Rule


class ProbedTable:
    """Tensors that one rule updates, and the groups they belong to.

    Parameters
    ----------
    rule
        The update they all get.
    formats
        Of the parameters, and of the rule's states.
    params, states
        ``T`` parameters that the backend takes, and the dictionary that holds each one's states, of
        the same shape and strides. No two share memory (see :func:`overlapping`).
    counters
        What the rule's family counts in those dictionaries, in float32 tensors without dimensions;
        empty where it counts nothing: then `fresh` says which parameters have their first step
        ahead.
    groups
        The parameter group of each.
    owner
        The optimizer's name, for messages.
    parts
        Of each parameter that is this process's part of a DTensor, that; for others None.
    reads_counters
        As for :class:`.TensorProbe`.

    Attributes
    ----------
    wholes
        The parameters, DTensors in the place of their parts.
    computed_as
        The dtype of the numbers that parameters are, alone or with what a state holds of them.
    """

    def __init__(
        self,
        rule: Rule,
        formats: tuple[Format, ...],
        params: list[Tensor],
        states: list[dict[str, Any]],
        counters: Sequence[str],
        fresh: list[bool],
        groups: list[int],
        owner: str,
        parts: Sequence[Part | None],
        reads_counters: bool = True,
    ) -> None:
        self._rule, self._params, self._owner = rule, params, owner
        parts = parts or [None] * len(params)
        self.wholes = [p if of is None else of.whole for p, of in zip(params, parts, strict=True)]
        self._parts = [p for p, of in zip(params, parts, strict=True) if of is not None]
        self.computed_as = formats[0].dtype if rule.joined is None else torch.float32
        self._groups = sorted(set(groups))
        indices = np.searchsorted(self._groups, groups)
        # States of other shapes are none of the probe's, which walks all tensors side by side.
        names = [name for name in rule.states if name not in rule.shapes]
        by_name = dict(zip(rule.states, formats[1:], strict=True))
        formats = (formats[0], *(by_name[name] for name in names))
        self._probe = TensorProbe(
            params, states, names, formats[1:], counters, indices, reads_counters
        )
        if not counters:
            self._probe.values[:, 0] = np.where(fresh, 0.0, 1.0)
        # Complex tensors are memory full of real numbers, two for each of their elements.
        reals = 2 if params[0].is_complex() else 1
        self._formats = tuple(replace(f, dtype=PAIRS.get(f.dtype, f.dtype)) for f in formats)
        self._sizes = [reals * p.numel() for p in params]
        self._sizes_of_wholes = [reals * whole.numel() for whole in self.wholes]
        self._stretches = stretches_of(parts, self._formats)
        self._bytes = np.array([p.nbytes for p in params], np.int64)
        self._grads: list[Any] = []

    def refresh(self, grads: list[Any]) -> bool:
        """Read the addresses of everything, with this step's gradients (None for none).

        False when a tensor is no longer what the table was built for: build another. Nothing has
        been written then.
        """
        worst = self._probe.read(grads)
        if worst == STAGE:
            found = staged(self._owner, self._params, grads, self._probe.status == STAGE)
            if found is None:
                return False
            grads = found
            worst = self._probe.read(grads)
        # Their addresses are in use until the step is done; after that we must not hold them, or
        # zero_grad() would free no memory.
        self._grads = grads
        return worst < STAGE

    def gradients(self) -> list[Tensor]:
        """Those that a step is about to read; after :meth:`refresh`, as the next one is."""
        return [grad for grad in self._grads if grad is not None]

    def gradient_spans(self) -> NDArray[np.int64]:
        """Where in their device's memory each of them begins and ends."""
        taking_part = self._probe.rows >= 0
        begin = self._probe.addresses[taking_part, GRAD]
        return np.column_stack([begin, begin + self._bytes[taking_part]])

    def release(self) -> None:
        """Let go of the gradients, where no step follows."""
        self._grads = []

    def _tell_autograd(self, zero_grads: bool) -> None:
        """Compiled code writes behind autograd's back.

        Untold, a second backward through the old values would pass unnoticed.
        """
        probe = self._probe
        torch.autograd.graph.increment_version(
            self.wholes
            if probe.complete
            else [p for p, row in zip(self.wholes, probe.rows, strict=True) if row >= 0]
        )
        if self._parts:
            torch.autograd.graph.increment_version(self._parts)
        if zero_grads:
            torch.autograd.graph.increment_version(self.gradients())
