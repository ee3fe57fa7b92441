"""Contestants compared pair by pair on the same seeds, corrected for how many pairs there are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import scipy  # whose parts load when they are asked for: workers need none

from adamantine.records import Difference, Interval
from adamantine.records.study import Quantity
from adamantine.study.statistics.intervals import LEVEL, deviation, mean
from adamantine.study.statistics.trials import Direction

ALPHA = 1 - LEVEL
POWER = 0.8
MOST = 1_000_000
"""Seeds or degrees of freedom: more of them change nothing that is printed."""
FAR = 1e6
"""Standard errors: beyond, power is 1 with as few as two seeds at any level in use."""


@dataclass(frozen=True)
class Sample:
    """What one contestant brings to a comparison.

    Parameters
    ----------
    name
        The contestant's.
    values
        A number for each seed.
    rounding
        What rounding leaves of these numbers' variance in any case: of an accuracy to whole
        examples, of a time to whole looks.
    shared
        Variance of an error that is the same for every seed: of a width, what the grid leaves.
    at_least
        The numbers are lower bounds.
    reason
        Why it cannot be compared; empty if it can.
    """

    name: str
    values: Mapping[int, float]
    rounding: float = 0.0
    shared: float = 0.0
    at_least: bool = False
    reason: str = ""


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test of `count` differences.

    `value` is their mean, `sd` their standard deviation, `shared` the variance of an error that
    all of them have. `same` tells that all are zero.
    """

    value: float
    sd: float
    count: int
    shared: float = 0.0
    same: bool = False

    @property
    def error(self) -> float:
        """The standard error of `value`."""
        return math.hypot(self.sd / math.sqrt(self.count), math.sqrt(self.shared))

    @property
    def freedom(self) -> float:
        """One less than `count`; more, as far as the error is not estimated (Welch, 1947)."""
        if self.shared == 0:
            return self.count - 1
        estimated = (self.sd / self.error) ** 2 / self.count
        return min(MOST, (self.count - 1) / estimated**2) if estimated > 1e-3 else MOST

    @property
    def p(self) -> float:
        """Two-sided."""
        if self.same:
            return 1.0
        if self.error == 0:
            return 0.0
        return float(2 * scipy.stats.t.sf(abs(self.value) / self.error, self.freedom))

    def half_width(self, alpha: float) -> float:
        """Of the t interval at level 1 - `alpha`."""
        return 0.0 if self.same else float(scipy.stats.t.isf(alpha / 2, self.freedom)) * self.error

    def detectable(self, alpha: float) -> float | None:
        """The true difference that is shown with a power of 80 %; None where nothing varies."""
        return shift(self.freedom, alpha) * self.error or None

    def power(self, count: int, alpha: float) -> float:
        """With so many seeds, if `value` and `sd` are the true ones."""
        test = replace(self, count=count)
        return power(test.freedom, abs(test.value) / test.error, alpha)

    def seeds_needed(self, alpha: float) -> int | None:
        """The fewest seeds that show `value` with a power of 80 %, above 1,000 about so many.

        None if none of up to :data:`MOST` do, or there is nothing to show.
        """
        if self.value == 0 or self.power(MOST, alpha) < POWER:
            return None
        above = 2
        while self.power(above, alpha) < POWER:
            above *= 2
        below = above // 2
        while above - below > max(1, above // 1000):
            middle = (above + below) // 2
            if self.power(middle, alpha) < POWER:
                below = middle
            else:
                above = middle
        return above


def compare(
    samples: Sequence[Sample], quantity: Quantity, direction: Direction
) -> tuple[Difference, ...]:
    """Every pair of contestants, tested and corrected together.

    Holm's correction keeps the chance that *any* pair of equals is called different at 5 %. It
    counts the pairs that are tested; of those that are not, `reason` says why.

    The interval of a pair is the t interval at level 1 - α p / p_holm, α = 5 %. It excludes zero
    exactly if p_holm < α: a t interval at level 1 - a excludes zero exactly if its test's
    p < a, and p < α p / p_holm is p_holm < α. (Equal differences other than zero have p = 0
    and an interval without width.)

    `detectable` and `seeds_needed` are computed at α / pairs, the level at which Holm tests a
    pair that is the only one to differ.
    """
    pairs = [(*pair, _reason(*pair)) for pair in combinations(samples, 2)]
    tests = [paired_test(first, second) for first, second, reason in pairs if not reason]
    corrected = iter(zip(tests, holm([test.p for test in tests]), strict=True))
    found = []
    for first, second, reason in pairs:
        if reason:
            found.append(_untested(first, second, quantity, reason))
        else:
            names, (test, p_holm) = (first.name, second.name), next(corrected)
            found.append(_difference(names, quantity, direction, test, p_holm, len(tests)))
    return tuple(found)


def paired_test(first: Sample, second: Sample) -> PairedTest:
    """The t-test of the differences on the seeds that both have (``scipy.stats.ttest_rel``).

    The standard deviation is at least what rounding leaves, the root of the two variances:
    five seeds that differ by the same one test example would otherwise be certain of it. To
    equals that happens in up to 2 of 4ⁿ studies of n seeds, and the floor makes p larger than
    that. Differences that are all zero have p = 1.

    An error that all seeds share does not average out over them: its variance is added to that
    of the mean, which has Welch's degrees of freedom then.
    """
    seeds = sorted(first.values.keys() & second.values.keys())
    differences = [first.values[seed] - second.values[seed] for seed in seeds]
    return PairedTest(
        value=mean(differences),
        sd=max(deviation(differences), math.sqrt(first.rounding + second.rounding)),
        count=len(seeds),
        shared=first.shared + second.shared,
        same=not any(differences),
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p-values, in the order of `p`.

    The smallest times their number, the next times one less, and so on; none below the one
    before it, none above 1.
    """
    corrected, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = least
    return corrected


def power(freedom: float, shift: float, alpha: float) -> float:
    """Of a two-sided t-test, where the true difference is `shift` standard errors."""
    # The square of a noncentral t is a noncentral F, which has both of the test's sides in one
    # (and numbers for all arguments: scipy.stats.nct has NaN for some of its far tails).
    critical = scipy.stats.t.isf(alpha / 2, freedom)
    return float(1 - scipy.special.ncfdtr(1, freedom, min(shift, FAR) ** 2, critical**2))


@lru_cache(maxsize=1024)
def shift(freedom: float, alpha: float) -> float:
    """The true difference, in standard errors, that a t-test shows with a power of 80 %."""
    highest = 1.0
    while power(freedom, highest, alpha) < POWER:
        highest *= 2
    return float(
        scipy.optimize.brentq(lambda x: power(freedom, x, alpha) - POWER, 0.0, highest, xtol=1e-9)
    )


def _reason(first: Sample, second: Sample) -> str:
    """Why the two cannot be compared, in the same words whichever is the first."""
    if reasons := sorted(sample.reason for sample in (first, second) if sample.reason):
        return "; ".join(reasons)
    seeds = first.values.keys() & second.values.keys()
    if len(seeds) < 2:
        return "one seed cannot tell a difference from chance"
    means = [(s, mean([s.values[seed] for seed in seeds])) for s in (first, second)]
    least = min(value for _, value in means)
    narrow = [sample for sample, value in means if value == least]
    if names := sorted(sample.name for sample in narrow if sample.at_least):
        return (
            f"of {' and '.join(names)} only a lower bound is known: the learning rates tried end"
            " where it is still within the tolerance"
        )
    return ""


def _untested(first: Sample, second: Sample, quantity: Quantity, reason: str) -> Difference:
    nothing = dict.fromkeys(("difference", "p", "p_holm", "better", "detectable", "seeds_needed"))
    return Difference(first.name, second.name, quantity, **nothing, reason=reason)


def _difference(
    names: tuple[str, str],
    quantity: Quantity,
    direction: Direction,
    test: PairedTest,
    p_holm: float,
    pairs: int,
) -> Difference:
    shown = p_holm < ALPHA
    # p = 0 is corrected to 0, whatever its rank.
    half = test.half_width(ALPHA * test.p / p_holm if p_holm > 0 else ALPHA / pairs)
    first_is_better = test.value > 0 if direction == "max" else test.value < 0
    alone = ALPHA / pairs
    return Difference(
        *names,
        quantity=quantity,
        difference=Interval(test.value, test.value - half, test.value + half),
        p=test.p,
        p_holm=p_holm,
        better=names[0 if first_is_better else 1] if shown else None,
        detectable=test.detectable(alone),
        seeds_needed=None if shown else test.seeds_needed(alone),
    )
