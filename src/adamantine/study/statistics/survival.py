"""When runs reach a target: some never do, so this is a survival estimate."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts load when they are asked for: workers need none

from adamantine.records import Look, Survival, TrialRun
from adamantine.study.statistics.intervals import LEVEL, mean, mean_interval
from adamantine.study.statistics.trials import Direction


@dataclass(frozen=True)
class Arrival:
    """When a run reached the target; None if not by `end`, when it was last watched."""

    time: float | None
    end: float

    def within(self, limit: float) -> float:
        """The smaller of its time and `limit`, which is known as long as `limit` <= `end`."""
        return limit if self.time is None else min(self.time, limit)


def worst_best(contestants: Sequence[Sequence[TrialRun]], direction: Direction) -> float:
    """The worst contestant's best validation metric: a target that each one can reach.

    Of each contestant the mean over its final runs of the run's best look, then the worst of
    these means. Runs that diverged are left out, or chance level would become the target;
    NaN if that leaves none.
    """
    best, worst = (max, min) if direction == "max" else (min, max)
    means = []
    for runs in contestants:
        looks = [_metrics(run) for run in runs if run.diverged is None]
        peaks = [best(metrics) for metrics in looks if metrics]
        if peaks:
            means.append(mean(peaks))
    return worst(means, default=math.nan)


def arrival(
    run: TrialRun,
    target: float,
    direction: Direction,
    clock: Callable[[Look], float],
    end: float,
) -> Arrival:
    """The first look at which a run's validation metric was as good as the target.

    A run that diverges afterwards has been there.
    """
    for look in run.looks:
        metric = look.validation_metric
        if metric >= target if direction == "max" else metric <= target:
            return Arrival(clock(look), end)
    return Arrival(None, end)


def survival(arrivals: Sequence[Arrival], limit: float) -> Survival:
    """The Kaplan-Meier estimate of arrivals, and their mean up to `limit`.

    Parameters
    ----------
    arrivals
        At least one.
    limit
        At most the earliest end of an arrival of all contestants. Then the smaller of a run's
        time and the limit is known of every run, and its mean has an ordinary t interval.
    """
    times = [run.end if run.time is None else run.time for run in arrivals]
    data = scipy.stats.CensoredData.right_censored(
        np.asarray(times, float), np.array([run.time is None for run in arrivals])
    )
    with warnings.catch_warnings():
        # Where all or none are left, log(-log S) has no variance; the bounds are set below.
        warnings.simplefilter("ignore", RuntimeWarning)
        left = scipy.stats.ecdf(data).sf
        band = left.confidence_interval(LEVEL, method="log-log")
    share = 1 - left.probabilities
    # A share never falls, so a lower bound holds later on, too; where all are left, it is zero.
    low = np.fmax.accumulate(np.nan_to_num(1 - band.high.probabilities, nan=0.0))
    high = np.where(share > 0, 1 - band.low.probabilities, 0.0)
    high = np.where(share < 1, high, 1.0)
    axis = [float(time) for time in left.quantiles]
    return Survival(
        reached=sum(run.time is not None for run in arrivals),
        runs=len(arrivals),
        mean=mean_interval([run.within(limit) for run in arrivals], 0.0, limit),
        median=_half(axis, share),
        low=_half(axis, high),
        high=_half(axis, low),
        times=tuple(axis),
        share=tuple(map(float, share)),
        share_low=tuple(map(float, low)),
        share_high=tuple(map(float, high)),
    )


def _half(
    times: Sequence[float], share: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> float | None:
    """The first time at which the share is one half, if there is one (Brookmeyer and Crowley)."""
    # A share that is one half may be rounded to a little less.
    return next((time for time, s in zip(times, share, strict=True) if s >= 0.5 - 1e-12), None)


def _metrics(run: TrialRun) -> list[float]:
    return [look.validation_metric for look in run.looks if math.isfinite(look.validation_metric)]
