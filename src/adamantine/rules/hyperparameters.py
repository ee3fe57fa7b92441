"""An optimizer's settings: their names, ranges, and what is said when one is outside."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from adamantine.errors import HyperparameterError


@dataclass(frozen=True)
class Search:
    """Where a search looks for a good value; good ones may lie outside.

    Parameters
    ----------
    low, high
        The ends. On the scale ``"complement"`` they are those of 1 - value.
    scale
        ``"log"``, or ``"complement"`` where 1 - value is on the log scale.
    of_default
        Whether the ends are multiples of the default (of 1 - default), since what is usual differs
        from one optimizer to the next.
    """

    low: float
    high: float
    scale: Literal["log", "complement"] = "log"
    of_default: bool = False


@dataclass(frozen=True)
class Hyperparameter:
    """One setting and its range.

    Parameters
    ----------
    name
        The key in a parameter group. A tuple setting such as ``betas`` has one range for all
        its elements.
    label
        How torch calls it in ``Invalid {label}: {value}``.
    minimum
        Smallest value allowed.
    below
        Values must be smaller than this; None for no bound.
    maximum
        Largest value allowed; None for no bound.
    optional
        Whether the setting may be None, or missing.
    count
        How many numbers a tuple setting has; None for a single number.
    search
        Where a search looks for it; None leaves it at its default.
    """

    name: str
    label: str
    minimum: float = 0.0
    below: float | None = None
    maximum: float | None = None
    optional: bool = False
    count: int | None = None
    search: Search | None = None

    def check(self, value: Any) -> None:
        """Raise :class:`HyperparameterError` unless `value` is inside the range."""
        if value is None and self.optional:
            return
        if self.count is None:
            self._check_number(value, self.label)
            return
        if not isinstance(value, tuple | list) or len(value) != self.count:
            raise HyperparameterError(
                f"Invalid {self.label}: {value} (expected {self.count} numbers)"
            )
        for index, element in enumerate(value):
            self._check_number(element, f"{self.label} at index {index}")

    def _check_number(self, value: Any, label: str) -> None:
        # Written so that NaN, which compares false with everything, is refused.
        if value is None or not (
            value >= self.minimum
            and (self.below is None or value < self.below)
            and (self.maximum is None or value <= self.maximum)
        ):
            raise HyperparameterError(self._refusal(value, label))

    def _refusal(self, value: Any, label: str) -> str:
        return f"Invalid {label}: {value} (expected {self.range})"

    @property
    def range(self) -> str:
        """The range in words, for messages and documentation."""
        bounds = [
            (">=", None if self.minimum == -math.inf else self.minimum),
            ("<", self.below),
            ("<=", self.maximum),
        ]
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


AVERAGE = Search(0.1, 100, "complement", of_default=True)
"""Of a decay rate β, which averages over 1/(1 - β) steps: ten times as many to a hundredth."""

LEARNING_RATE = Hyperparameter("lr", "learning rate", search=Search(1e-2, 1e2, of_default=True))
EPS = Hyperparameter("eps", "epsilon value", search=Search(1e-2, 1e4, of_default=True))
BETAS = Hyperparameter("betas", "beta parameter", below=1.0, count=2, search=AVERAGE)
WEIGHT_DECAY = Hyperparameter("weight_decay", "weight_decay value", search=Search(1e-6, 1.0))
MOMENTUM = Hyperparameter("momentum", "momentum value", search=Search(0.01, 1.0, "complement"))


def check_all(hyperparameters: Iterable[Hyperparameter], settings: dict[str, Any]) -> None:
    """Check every setting of a parameter group, in the order given."""
    for hyperparameter in hyperparameters:
        name = hyperparameter.name
        hyperparameter.check(settings.get(name) if hyperparameter.optional else settings[name])
