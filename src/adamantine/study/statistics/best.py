"""How much worse than the best one a contestant may be."""

from collections.abc import Sequence

import scipy  # whose parts load when they are asked for: workers need none

from adamantine.study.statistics.pairs import ALPHA, Sample, paired_test
from adamantine.study.statistics.trials import Direction


def shortfalls(samples: Sequence[Sample], direction: Direction) -> dict[str, float]:
    """For each contestant, how much worse than the truly best one it is at most.

    The largest of the upper bounds of its differences to the k - 1 others, each a one-sided t
    bound at level 1 - 5 % / (k - 1); 0 if all are below zero (multiple comparisons with the best,
    Hsu, 1984, by Bonferroni's inequality). In at least 95 % of studies, all of these numbers hold
    at once, and so does that of a contestant which was chosen because of the same data: one is
    wrong only if the difference to the truly best one is above its bound, and there are k - 1 of
    these.

    Parameters
    ----------
    samples
        Those that cannot be compared are left out.

    Returns
    -------
    By name; empty where two have less than two seeds in common, or there are no two.
    """
    usable = [sample for sample in samples if not sample.reason]
    sign = 1.0 if direction == "max" else -1.0
    found = {}
    for one in usable:
        ahead = [paired_test(other, one) for other in usable if other is not one]
        if not ahead or any(test.count < 2 for test in ahead):
            return {}
        level = ALPHA / len(ahead)
        bounds = [
            sign * test.value + float(scipy.stats.t.isf(level, test.freedom)) * test.error
            for test in ahead
        ]
        found[one.name] = max(0.0, *bounds)
    return found
