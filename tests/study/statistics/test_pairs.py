"""Paired tests and Holm's correction against SciPy, brute force and simulated studies."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from benchmarks.studies.simulated import accuracies, arrivals, widths
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adamantine.study.statistics.intervals import mean_interval, rounding_variance
from adamantine.study.statistics.pairs import (
    ALPHA,
    PairedTest,
    Sample,
    compare,
    holm,
    paired_test,
    power,
)

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


def sample(name, values, **rest):
    return Sample(name, dict(enumerate(values)), **rest)


def bound(studies, rate=0.05):
    """What a true rate exceeds in one of a thousand simulations."""
    return stats.binom.ppf(0.999, studies, rate)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12))
def test_the_paired_test_is_scipys(pairs):
    first, second = zip(*pairs, strict=True)
    differences = np.subtract(first, second)
    if np.ptp(differences) < 1e-6:  # scipy warns of these; the next tests have them
        return
    test = paired_test(sample("a", first), sample("b", second))
    theirs = stats.ttest_rel(first, second)
    assert test.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    low, high = theirs.confidence_interval(0.9)
    assert test.value - test.half_width(0.1) == pytest.approx(low, rel=1e-6, abs=1e-6)
    assert test.value + test.half_width(0.1) == pytest.approx(high, rel=1e-6, abs=1e-6)


def test_only_seeds_of_both_are_paired():
    test = paired_test(Sample("a", {1: 1.0, 2: 2.0, 3: 9.0}), Sample("b", {2: 1.0, 1: 0.5, 4: 7.0}))
    assert (test.value, test.count) == (0.75, 2)


def test_the_same_in_each_seed_is_no_difference():
    (found,) = compare([sample("a", [0.9, 0.8]), sample("b", [0.9, 0.8])], "metric", "max")
    assert (found.p, found.p_holm, found.better, found.seeds_needed) == (1.0, 1.0, None, None)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)


def test_one_example_in_each_seed_is_less_certain_than_it_is_rare():
    """Equals do so in at most 2 of 4ⁿ studies (two values, each half of the time)."""
    for seeds in range(2, 8):
        step = rounding_variance(1 / 360)
        first = sample("a", [351 / 360] * seeds, rounding=step)
        second = sample("b", [350 / 360] * seeds, rounding=step)
        assert 2 / 4**seeds < paired_test(first, second).p < 1
        (certain,) = compare(
            [sample("a", [2.0] * seeds), sample("b", [1.0] * seeds)], "metric", "max"
        )
        assert (certain.p, certain.better, certain.detectable) == (0.0, "a", None)


def closed_testing(p):
    """Reject what every set of hypotheses around it rejects by Bonferroni; smallest such level."""
    hypotheses = range(len(p))
    sets = [s for k in range(1, len(p) + 1) for s in combinations(hypotheses, k)]
    return [
        max(min(1.0, len(s) * min(p[i] for i in s)) for s in sets if index in s)
        for index in hypotheses
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p):
    assert holm(p) == pytest.approx(closed_testing(p), rel=1e-12)


studies = st.integers(2, 6).flatmap(
    lambda seeds: st.lists(
        st.lists(st.integers(300, 360).map(lambda k: k / 360), min_size=seeds, max_size=seeds),
        min_size=2,
        max_size=5,
    )
)


@settings(deadline=None)
@given(studies, st.sampled_from(["max", "min"]), st.sampled_from([0.0, 1 / 360]), st.randoms())
def test_intervals_agree_with_holm_and_order_decides_signs_only(values, direction, step, random):
    samples = [
        sample(name, row, rounding=rounding_variance(step))
        for name, row in zip("abcde", values, strict=False)
    ]
    found = compare(samples, "metric", direction)
    for pair in found:
        interval = pair.difference
        excluded = interval.low > 0 or interval.high < 0
        assert excluded == (pair.p_holm < ALPHA) == (pair.better is not None)
        if excluded:
            ahead = pair.first if (interval.value > 0) == (direction == "max") else pair.second
            assert pair.better == ahead
        else:
            assert pair.seeds_needed is None or pair.seeds_needed > len(values[0])
    random.shuffle(samples)
    again = {(pair.first, pair.second): pair for pair in compare(samples, "metric", direction)}
    for pair in found:
        same = again.get((pair.first, pair.second))
        if same is not None:
            assert same == pair
            continue
        turned = again[pair.second, pair.first]
        assert turned.difference.low == -pair.difference.high
        assert (turned.p, turned.p_holm, turned.better) == (pair.p, pair.p_holm, pair.better)


def test_power_by_simulation_and_what_it_says_of_ten_seeds():
    assert power(9, math.sqrt(10), 0.05) == pytest.approx(0.803, abs=5e-4)
    rng = np.random.default_rng(0)
    for count, effect, alpha in ((10, 1.0, 0.05), (5, 1.5, 0.05 / 3), (3, 4.0, 0.05)):
        draws = effect + rng.normal(size=(20_000, count))
        found = (stats.ttest_1samp(draws, 0, axis=1).pvalue < alpha).mean()
        expected = power(count - 1, effect * math.sqrt(count), alpha)
        assert found == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 20_000))


@pytest.mark.parametrize(("count", "pairs"), [(2, 1), (2, 45), (5, 3), (10, 1), (30, 15)])
def test_detectable_and_seeds_needed_have_the_power_they_name(count, pairs):
    alpha = 0.05 / pairs
    test = PairedTest(0.3, 0.5, count)
    least = test.detectable(alpha)
    assert power(count - 1, least / test.error, alpha) == pytest.approx(0.8, abs=1e-6)
    needed = test.seeds_needed(alpha)
    assert test.power(needed, alpha) >= 0.8 > test.power(needed - 1, alpha)
    # Of the normal test, whose number is the limit of small effects.
    small = PairedTest(0.005, 0.5, count).seeds_needed(0.05)
    assert small == pytest.approx((0.5 * 2.8016 / 0.005) ** 2, rel=2e-3)


def test_an_error_that_seeds_share_stays_however_many_there_are():
    coarse = PairedTest(0.5, 0.01, 3, shared=1 / 6)
    assert coarse.error == pytest.approx(math.sqrt(1 / 6), rel=1e-3)
    assert coarse.p == pytest.approx(2 * stats.norm.sf(0.5 / coarse.error), rel=1e-3)
    assert coarse.seeds_needed(0.05) is None
    assert PairedTest(2.0, 1.0, 3, shared=1 / 6).seeds_needed(0.05) is not None


@pytest.mark.parametrize(
    ("make", "quantity", "direction", "count"),
    [
        (accuracies, "metric", "max", 200),
        (arrivals, "epochs_to_target", "min", 200),
        (widths, "lr_width", "max", 50),
    ],
)
def test_equals_are_called_different_in_at_most_five_of_a_hundred_studies(
    make, quantity, direction, count
):
    rng = np.random.default_rng(5)
    differences = [compare(make(rng), quantity, direction) for _ in range(count)]
    assert sum(pair.difference is not None for found in differences for pair in found) > 2 * count
    wrong = sum(any(pair.better for pair in found) for found in differences)
    assert wrong <= bound(count)


def test_a_difference_of_one_deviation_is_found_in_ten_seeds():
    rng = np.random.default_rng(6)
    count, found = 1000, 0
    for _ in range(count):
        base = rng.normal(size=10)
        better = base + 1 + rng.normal(size=10)
        (pair,) = compare([sample("a", better), sample("b", base)], "metric", "max")
        found += pair.better == "a"
        assert pair.better != "b"
    assert found >= stats.binom.ppf(0.001, count, 0.803)


def test_intervals_cover_the_truth():
    """Each pair's in 95 of 100 studies or more, and all in the right direction in as many."""
    rng = np.random.default_rng(7)
    truth = {"a": 0.0, "b": 1.0, "c": 1.2}
    count, missed, wrong = 300, Counter(), 0
    for _ in range(count):
        shared = rng.normal(size=6)
        samples = [sample(name, shared + at + rng.normal(size=6)) for name, at in truth.items()]
        found = compare(samples, "metric", "max")
        for pair in found:
            true = truth[pair.first] - truth[pair.second]
            missed[pair.first, pair.second] += (
                not pair.difference.low <= true <= pair.difference.high
            )
        wrong += any(pair.better == min((pair.first, pair.second), key=truth.get) for pair in found)
    assert max(missed.values()) <= bound(count)
    assert wrong <= bound(count)
    single = [mean_interval(list(3 + rng.normal(size=5))) for _ in range(2000)]
    assert sum(not i.low <= 3 <= i.high for i in single) <= bound(2000)


def test_pairs_that_cannot_be_tested_say_why_and_do_not_count():
    samples = [
        sample("a", [0.9, 0.91, 0.92]),
        sample("b", [0.8, 0.80, 0.82]),
        Sample("c", {}, reason="c diverged in 3 of 3 runs"),
    ]
    found = {(pair.first, pair.second): pair for pair in compare(samples, "metric", "max")}
    assert found["a", "b"].p_holm == found["a", "b"].p
    assert found["a", "c"].reason == "c diverged in 3 of 3 runs"
    assert (found["a", "c"].difference, found["a", "c"].p, found["a", "c"].better) == (None,) * 3
    (single,) = compare([sample("a", [1.0]), sample("b", [2.0])], "metric", "max")
    assert "one seed" in single.reason


def test_a_narrower_width_that_is_a_lower_bound_is_not_compared():
    wide, narrow = [3.0, 3.1, 2.9], [1.0, 1.2, 1.1]
    open_ = {"at_least": True}
    (found,) = compare([sample("a", wide, **open_), sample("b", narrow)], "lr_width", "max")
    assert found.better == "a"
    (found,) = compare([sample("a", wide), sample("b", narrow, **open_)], "lr_width", "max")
    assert "of b only a lower bound is known" in found.reason
