"""Contestants and traces for the tests of paths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import adamantine
from adamantine.study.trace import trace
from adamantine.workloads.surfaces import SURFACES


@dataclass(frozen=True)
class Entrant:
    """A class of optimizers with settings, under a name."""

    name: str
    optimizer: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self):
        return self.name

    def build(self, parameters, settings):
        return self.optimizer(parameters, **settings)


def sgd(**settings):
    return Entrant("sgd", adamantine.SGD, settings)


def adam(**settings):
    return Entrant("adam", adamantine.Adam, settings)


def traced(surface, *entrants, steps=20):
    return trace(SURFACES[surface], entrants, steps)
