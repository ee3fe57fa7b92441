"""The mean of numbers whose sum float64 may not hold: losses grow without bounds."""

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Of finite numbers, at least one: their exact sum by their number, where that is a float."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)
