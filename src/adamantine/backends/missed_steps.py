"""The steps that a table's rows may have missed, and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from adamantine.rules import Rule
from adamantine.rules.catch_up.by_rule import catch_up_of

LENGTH = FULL = 4_096
"""So many at most: then all rows catch up and it starts again, so that its memory stays small."""


class MissedSteps:
    """A clock, the step at which each row was last up to date, and sums for each such step.

    Parameters
    ----------
    rule
        Whose steps they are.
    shape
        The leading dimensions of the table, which number its rows: the gradient's sparse ones.
    device
        Where the table lies. The sums are on the host, with a column for each start.
    """

    def __init__(self, rule: Rule, shape: torch.Size, device: torch.device) -> None:
        self.rule, self.catch_up, self.shape = rule, catch_up_of(rule), shape
        self.now = 0  # steps since all rows were up to date
        self.last = torch.zeros(shape.numel(), dtype=torch.int16, device=device)
        self.history = np.zeros((LENGTH, len(rule.scalars)))
        self.sums = np.empty((len(self.catch_up.start), LENGTH))
        self.coefficients = np.zeros((self.catch_up.width, LENGTH))
        self._constant: list[float] = []
        self.restart()

    def restart(self) -> None:
        """All rows are up to date: forget the steps."""
        self.now = 0
        self.last.zero_()
        self.sums[:] = np.array(self.catch_up.start)[:, None]

    def takes(self, scalars: Mapping[str, Any]) -> bool:
        """Whether the steps so far can go on with one that has these scalars."""
        constant = [scalars[name] for name in self.catch_up.constant]
        return self.now == 0 or (self.now < FULL and constant == self._constant)

    def record(self, scalars: Mapping[str, Any]) -> tuple[list[float], list[float]]:
        """Note one more step; returns what `advance` and `coefficients` are to be given.

        The caller brings the first ``now`` columns of the sums up to date with them.
        """
        self.history[self.now] = [scalars[name] for name in self.rule.scalars]
        self._constant = [scalars[name] for name in self.catch_up.constant]
        self.now += 1
        return [scalars[name] for name in self.catch_up.scalars], self._constant
