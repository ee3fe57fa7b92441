"""Reading curves of loss and progress over learning rates; numbers in, numbers out."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

GOOD = 0.9
"""Share of the best progress that a rate in the range makes."""
SUGGESTED = 0.95
"""Share of the best progress at the suggestion."""
FAILED = 0.5
"""A rate above the best one that makes no more than this share has diverged."""

WIDTH = 0.15
"""Standard deviation of the smoothing, in decades."""


def smooth(rates: Sequence[float], losses: Numbers) -> Numbers:
    """The median over the seeds, smoothed over the logarithm of the rate.

    The kernel is as wide to the left as to the right: a moving average of past losses, as is
    common, would show everything too far right. Losses above the start by more than the fall are
    cut there first, or an explosion would reach back through the kernel.

    Parameters
    ----------
    losses
        Shape ``(seeds, steps)``; what is not finite counts as infinite.
    """
    median = np.median(np.where(np.isfinite(losses), losses, np.inf), axis=0)
    start = float(losses[:, 0].mean())
    median = np.minimum(median, start + max(0.0, start - median.min()))
    decades = np.log10(np.asarray(rates))
    weights = np.exp(-0.5 * ((decades[:, None] - decades) / WIDTH) ** 2)
    smoothed: Numbers = weights @ median / weights.sum(axis=1)
    return smoothed


def progress(starts: Numbers, ends: Numbers) -> Numbers:
    """How far each seed's loss came down; 0 where it went up or was not finite."""
    ends = np.where(np.isfinite(ends), ends, np.inf)
    return np.maximum(starts - ends, 0.0)


def has_failed(curve: Mapping[int, float]) -> bool:
    """Whether the largest rate makes at most half of the best progress."""
    return curve[max(curve)] <= FAILED * max(curve.values())


def is_bracketed_below(curve: Mapping[int, float]) -> bool:
    """Whether the smallest rate makes clearly less progress than the best."""
    return curve[min(curve)] < GOOD * max(curve.values())


def rising(rates: Numbers, curve: Numbers, share: float) -> float:
    """The smallest rate from which on up to the best one progress is at least `share` of its own.

    Between two rates the curve is a straight line over the logarithm. The smallest rate of all
    where even that is good enough.
    """
    best, level = int(curve.argmax()), share * float(curve.max())
    for index in range(best, 0, -1):
        if curve[index - 1] < level:
            return _crossing(rates[index - 1 : index + 1], curve[index - 1 : index + 1], level)
    return float(rates[0])


def falling(rates: Numbers, curve: Numbers, share: float) -> float:
    """The largest such rate on the other side of the best one."""
    return 1 / rising(1 / rates[::-1], curve[::-1], share)


def diverging(rates: Numbers, curve: Numbers) -> float | None:
    """The smallest rate above the best one that has failed; None if none has."""
    best = int(curve.argmax())
    failed = np.flatnonzero(curve[best:] <= FAILED * curve[best])
    return float(rates[best + failed[0]]) if len(failed) else None


def _crossing(rates: Numbers, curve: Numbers, level: float) -> float:
    return float(10 ** np.interp(level, curve, np.log10(rates)))
