"""A parameter in a step: with its group, its state and the rule that updates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adamantine.backends import reference
from adamantine.backends.shards import Part
from adamantine.codecs.blocks import BLOCK
from adamantine.optim.state.precision import Treatment
from adamantine.rules import Rule

Totals = Mapping[int, Sequence[float]]
"""Sums over whole tensors, in the order of their rules' names, by the id of the parameter."""


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

    def decided(self, totals: Totals | None, scalars: Mapping[str, Any]) -> float | None:
        """What sums over all of its processes decide; None where there are none."""
        sums = self.rule.tensor_sums
        if sums is None or totals is None or id(self.param) not in totals:
            return None
        numbers = totals[id(self.param)][: len(sums.names)]
        found = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        elements = (2 if self.param.is_complex() else 1) * self.param.numel()
        return float(reference.decide(sums, [found], [elements], scalars))

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
