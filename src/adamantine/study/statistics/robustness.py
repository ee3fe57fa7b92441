"""Learning-rate robustness: how wide the range of learning rates is that are nearly best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts load when they are asked for: workers need none
from numpy.typing import NDArray

from adamantine.records import Interval, Trial, Width
from adamantine.study.statistics.intervals import LEVEL, rounding_variance
from adamantine.study.statistics.trials import Direction

Array = NDArray[np.float64]
RESAMPLES = 2000


HUGE, SMALLER = 1e300, 2.0**-10
"""Sums of 1,000 scores beyond it, the most there are, would overflow; made smaller, none does."""


@dataclass(frozen=True)
class Robustness:
    """A contestant's width, the widths its seeds give one by one, and what the grid leaves open.

    `variance` is the square of what is not known of its two edges: each lies anywhere in its
    gap of the grid, whatever the seed.
    """

    width: Width
    per_seed: tuple[float, ...]
    variance: float


@dataclass(frozen=True)
class Span:
    """Decades below and above the best rate, one a column; gaps are 0 where no edge was met."""

    best: NDArray[np.intp]
    below: Array
    above: Array
    gap_below: Array
    gap_above: Array

    @property
    def width(self) -> Array:
        """In decades."""
        return self.below + self.above


def robustness(
    trials: Sequence[Trial], direction: Direction, tolerance: float, seed: int = 0
) -> Robustness | None:
    """The width of the interval of learning rates around the best one that are as good.

    Good enough is a mean score over the tuning seeds that is worse than the best by at most
    `tolerance` times the best one's magnitude: ``best * (1 - tolerance)`` for an accuracy,
    ``best * (1 + tolerance)`` for a loss, and ``best - tolerance * |best|`` or
    ``best + tolerance * |best|`` for scores that may be negative. A best of zero leaves no
    room: only scores that are zero, too, are within any share of it.

    Between learning rates the score is interpolated linearly in log lr. Of trials that share a
    learning rate the best counts. A rate of which a run diverged is outside, and the edge
    towards it is put at the last rate that did not: the smallest width it can be.

    The interval is the percentile bootstrap over tuning seeds (the same resample for every
    rate), widened to the estimate where it lies beside it; with one seed its bounds are NaN.
    With three seeds it is too short more often than not: take it for a sign, not for a test.

    Parameters
    ----------
    trials
        With as many scores each.
    direction
        Of the scores.
    tolerance
        A share, 0.01 for one per cent.
    seed
        Of the resampling.
    """
    trials = [trial for trial in trials if trial.lr > 0 and trial.scores]
    if all(trial.score is None for trial in trials):
        return None
    sign = 1.0 if direction == "max" else -1.0
    scores = sign * np.array(
        [[math.nan if s is None else s for s in trial.scores] for trial in trials]
    )
    if np.nanmax(np.abs(scores)) > HUGE:
        scores *= SMALLER  # exact, and a width has no unit
    rates, place = np.unique([trial.lr for trial in trials], return_inverse=True)
    decades = np.log10(rates)

    def over(seeds: NDArray[np.intp]) -> Span:
        """Of the mean over the last axis of `seeds`; one column a row of it."""
        means = scores[:, seeds].mean(-1)  # NaN where one of them diverged
        best = np.full((len(rates), means.shape[1]), math.nan)
        for trial, rate in enumerate(place):
            best[rate] = np.fmax(best[rate], means[trial])
        return span(decades, best, tolerance)

    count = scores.shape[1]
    whole, single = over(np.arange(count)[None]), over(np.arange(count)[:, None])
    peak = decades[whole.best[0]]
    return Robustness(
        Width(
            decades=_bootstrap(lambda seeds: over(seeds).width, float(whole.width[0]), count, seed),
            low=_rate(peak - whole.below[0]),
            high=_rate(peak + whole.above[0]),
            open_below=bool(whole.gap_below[0] == 0),
            open_above=bool(whole.gap_above[0] == 0),
        ),
        tuple(map(float, single.width)),
        rounding_variance(float(whole.gap_below[0]), float(whole.gap_above[0])),
    )


def span(decades: Array, scores: Array, tolerance: float) -> Span:
    """Walk from the best rate both ways, as far as scores are within the tolerance of it.

    Parameters
    ----------
    decades
        log10 of the rates, ascending.
    scores
        A row a rate, each column a case of its own with at least one number; more is better,
        NaN is outside.
    tolerance
        As in :func:`robustness`.
    """
    best = np.nanargmax(scores, axis=0)
    peak = np.nanmax(scores, axis=0)
    floor = peak - tolerance * np.abs(peak)
    gaps = np.diff(decades)
    above, gap_above = _walk(gaps, scores, floor, best)
    below, gap_below = _walk(gaps[::-1], scores[::-1], floor, len(scores) - 1 - best)
    return Span(best, below, above, gap_below, gap_above)


def _walk(gaps: Array, scores: Array, floor: Array, start: NDArray[np.intp]) -> tuple[Array, Array]:
    """How far from row `start` upwards scores stay at the floor; the gap where they leave it."""
    length, gap_there = np.zeros_like(floor), np.zeros_like(floor)
    going = np.ones_like(floor, bool)
    for index, gap in enumerate(gaps):
        here, there = scores[index], scores[index + 1]
        now = going & (index >= start)
        inside = there >= floor
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = np.where(inside, 1.0, np.nan_to_num((here - floor) / (here - there)))
        leaves = now & ~inside
        length += np.where(now, gap * share, 0.0)
        gap_there[leaves] = gap
        going &= ~leaves
    return length, gap_there


def _bootstrap(
    statistic: Callable[[NDArray[np.intp]], Array], estimate: float, count: int, seed: int
) -> Interval:
    """The percentile interval of a statistic of which seeds there are."""
    if count < 2:
        return Interval(estimate, math.nan, math.nan)
    result = scipy.stats.bootstrap(
        (np.arange(count),),
        lambda seeds, **_: statistic(np.atleast_2d(seeds)),
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _rate(decades: float) -> float:
    """The learning rate, without the last digits that a logarithm and back leave."""
    return float(f"{10**decades:.12g}")
