"""A parameter in a step: with its group, its state and the rule that updates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from adamantine.backends import reference
from adamantine.backends.shards import Part
from adamantine.codecs.blocks import BLOCK
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
    part: Part | None = None  # of a DTensor, what is here
    local_state: dict[str, Any] = field(default_factory=dict)  # of that
    counts_on_device: bool = False

    @property
    def here(self) -> Tensor:
        """The tensor that is updated: the parameter, or the part of it that is here."""
        return self.param if self.part is None else self.part.local

    @property
    def state_here(self) -> dict[str, Any]:
        """Its states, and the counters."""
        return self.state if self.part is None else self.local_state

    @property
    def rule(self) -> Rule:
        """What updates it."""
        return self.treatment.rule

    def number(self) -> Tensor:
        """What the parameter is, with what a state may hold of it."""
        param = self.here.detach()
        if self.rule.joined is None:
            return param
        return reference.joined(self.rule, param, self.state_here[self.rule.states[-1]])

    def share_of(self, counts: Mapping[int, int]) -> float | None:
        """The share of all elements that were counted; None where the rule needs none."""
        if self.rule.share is None or id(self.param) not in counts:
            return None
        reals = 2 if self.param.is_complex() else 1
        return counts[id(self.param)] / max(1, reals * self.param.numel())

    def places(self) -> Tensor | None:
        """Of a part, where its elements are in the whole, as random numbers count them."""
        if self.part is None:
            return None
        return self.part.places(BLOCK if any(f.coded for f in self.treatment.formats) else 1)


class Only(NamedTuple):
    """The one parameter of a plan, with the number of its group and its place among all."""

    param: Tensor
    group: int
    place: int
