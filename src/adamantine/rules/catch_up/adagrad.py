"""Adagrad's steps without gradient: nothing moves, unless an L2 penalty pulls.

The sum of squares does not fade, so a row that sits out stays as it is, whatever the learning rate
does meanwhile. With an L2 penalty its gradient is λθ, and there is no closed form.
"""

from math import nan

from adamantine.rules.catch_up.catch_up import CatchUp
from adamantine.rules.ops import where


def advance(sure, l2):
    return (where(l2, nan, sure),)


def coefficients(sure):
    return (where(sure == sure, 1.0, 0.0), sure)


def catch_up(param, sum, sure):  # noqa: A002 - torch's name for it
    return param, sum


def covers(param, sum, sure):  # noqa: A002
    return sure == sure


ADAGRAD = CatchUp((1.0,), advance, coefficients, catch_up, covers)
