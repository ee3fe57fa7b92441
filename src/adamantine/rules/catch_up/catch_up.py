"""What a rule does in steps that bring no gradient, many of them at once.

A row of an embedding that a sparse gradient leaves out has, in a dense optimizer, a gradient of
zero: its momentum fades and still moves it, its decay still shrinks it. All rows that sit out the
same steps go through the same sequence of host scalars. So the effect of those steps is summed up
once for every step at which a row may have fallen asleep (its start), and a row that is touched
again catches up in one go, whatever the number of steps.

Four plain functions say how, all of them bound and compiled as the rule itself is. The first two
run on the host in float64, once a step for each start; the last two once for each element::

    advance(*sums, *scalars) -> sums                      one more missed step
    coefficients(*sums, *scalars) -> (sure, *coefficients)
    apply(param, *states, *coefficients) -> (param, *states)
    covers(param, *states, *coefficients) -> bool         only asked where not `sure`
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class CatchUp:
    """A rule's missed steps in closed form; see the module for the four functions.

    Parameters
    ----------
    start
        The sums before the first missed step.
    advance, coefficients, apply, covers
        `sure` is not zero where the closed form is as accurate as it has to be for every element.
        Where it is zero, `covers` decides by element. Rows that are not covered are stepped
        through, by the rule with a gradient of zero.
    """

    start: tuple[float, ...]
    advance: Callable[..., Any]
    coefficients: Callable[..., Any]
    apply: Callable[..., Any]
    covers: Callable[..., Any]

    @cached_property
    def scalars(self) -> tuple[str, ...]:
        """Host scalars that `advance` takes after the sums."""
        return tuple(inspect.signature(self.advance).parameters)[len(self.start) :]

    @cached_property
    def constant(self) -> tuple[str, ...]:
        """Host scalars that `coefficients` takes: they have to stay the same in all the steps."""
        return tuple(inspect.signature(self.coefficients).parameters)[len(self.start) :]

    @cached_property
    def width(self) -> int:
        """How many numbers `coefficients` gives, `sure` included."""
        return len(self.coefficients(*self.start, *(1.0 for _ in self.constant)))


def always(*_):
    return True


def _never(*_):
    return False


def _unmoved(param, *states):
    return (param,) + states  # noqa: RUF005 - Numba adds tuples, but does not unpack them here


def _nothing(zero):
    return (zero,)


STEPPED = CatchUp((0.0,), _nothing, _nothing, _unmoved, _never)
"""No closed form: `sure` stays zero, nothing is covered, and every missed step is done."""
