"""Means with their t intervals, and what rounding adds to them."""

import math
from collections.abc import Sequence

import scipy  # whose parts load when they are asked for: workers need none

from adamantine.records import Interval

LEVEL = 0.95


def mean(values: Sequence[float]) -> float:
    """The mean; of equal numbers, exactly that number, and the same in every order."""
    return values[0] if len(set(values)) == 1 else math.fsum(v / len(values) for v in values)


def deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation (n - 1); of equal numbers exactly 0, of one NaN.

    Like the mean, the same in every order and for every sign, to the bit.
    """
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    # hypot, since losses of 1e200 or 1e-200 have squares that float64 cannot hold.
    return math.hypot(*sorted(abs(v - centre) for v in values)) / math.sqrt(len(values) - 1)


def mean_interval(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> Interval:
    """The mean and its 95 % t interval.

    One number gives NaN bounds, equal numbers an interval of no width.

    Parameters
    ----------
    values
        At least one.
    lowest, highest
        What the quantity cannot be below or above: bounds beyond are cut off, which takes no
        possible mean out of the interval.
    """
    centre = mean(values)
    if len(values) < 2:
        return Interval(centre, math.nan, math.nan)
    error = deviation(values) / math.sqrt(len(values))
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Interval(centre, max(centre - half, lowest), min(centre + half, highest))


def rounding_variance(*steps: float) -> float:
    """What rounding to grids of these steps adds to a variance: step²/12 each (Sheppard)."""
    return math.fsum(step**2 / 12 for step in steps)
