"""A parameter in a step: with its group, its state and the rule that updates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from adamantine.optim.state.precision import Treatment
from adamantine.rules import Rule


@dataclass
class Member:
    """One parameter with what its update needs."""

    group: int
    treatment: Treatment
    param: Tensor
    state: dict[str, Any]
    fresh: bool
    stream: int  # of its random numbers

    @property
    def rule(self) -> Rule:
        """What updates it."""
        return self.treatment.rule


class Only(NamedTuple):
    """The one parameter of a plan, with the number of its group and its place among all."""

    param: Tensor
    group: int
    place: int
