"""Simulated studies of contestants whose true qualities are known: equal, unless given."""

import numpy as np

from adamantine.records import Look, Trial, TrialRun
from adamantine.study.statistics.intervals import rounding_variance
from adamantine.study.statistics.pairs import Sample
from adamantine.study.statistics.robustness import robustness
from adamantine.study.statistics.survival import arrival, worst_best

EPOCHS = 5
EXAMPLES = 360
LEVEL = 0.96
NAMES = "abc"


def accuracies(rng, names=NAMES, seeds=5, levels=None):
    """Counts of right test examples; a seed has something in common for all contestants.

    `levels` are the true accuracies; None for equal ones.
    """
    common = 0.004 * rng.normal(size=seeds)
    levels = [LEVEL] * len(names) if levels is None else levels
    return [
        Sample(
            name,
            dict(enumerate(rng.binomial(EXAMPLES, np.clip(level + common, 0, 1)) / EXAMPLES)),
            rounding=rounding_variance(1 / EXAMPLES),
        )
        for name, level in zip(names, levels, strict=True)
    ]


def arrivals(rng, names=NAMES, seeds=5, looks=20):
    """Epochs to the worst contestant's best score, from noisy learning curves."""
    time = np.arange(1, looks + 1) / 4
    runs = []
    for name in names:
        speeds = np.exp(0.2 * rng.normal(size=seeds))
        curves = 0.97 - 0.8 * np.exp(-speeds[:, None] * time)
        curves = curves + 0.004 * rng.normal(size=curves.shape)
        runs.append([_run(name, s, curve) for s, curve in enumerate(curves.tolist())])
    target = worst_best(runs, "max")
    reached = [
        [arrival(run, target, "max", lambda look: look.epoch, EPOCHS) for run in part]
        for part in runs
    ]
    return [
        Sample(
            name,
            {seed: time.within(EPOCHS) for seed, time in enumerate(part)},
            rounding=rounding_variance(EPOCHS / looks),
        )
        for name, part in zip(names, reached, strict=True)
    ]


def _run(name, seed, curve):
    """A final run whose validation metric follows `curve`, evenly spaced over the epochs."""
    shares = [index / len(curve) for index in range(1, len(curve) + 1)]
    looks = tuple(
        Look(round(100 * share), EPOCHS * share, share, 1 - value, 1 - value, value)
        for share, value in zip(shares, curve, strict=True)
    )
    return TrialRun(name, "final", {"lr": 0.1}, seed, looks, 100, 1.0, 100, 800)


def widths(rng, names=NAMES, seeds=3, shift=1.0):
    """Widths from grids of a decade that begin anywhere: the worst that defaults can do."""
    samples = []
    for name in names:
        grid = np.arange(-4.0, 3.0) + shift * rng.random()
        trials = []
        for place in grid:
            level = 0.97 - 0.004 * place**2 - 0.05 * max(0.0, place - 0.5) ** 2
            scores = tuple((level + 0.003 * rng.normal(size=seeds)).tolist())
            trials.append(Trial({}, float(10**place), scores, sum(scores) / seeds))
        found = robustness(trials, "max", 0.01)
        assert found is not None
        samples.append(
            Sample(
                name,
                dict(enumerate(found.per_seed)),
                shared=found.variance,
                at_least=found.width.open_below or found.width.open_above,
            )
        )
    return samples
