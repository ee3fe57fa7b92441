"""Trials, targets, widths and words: closed forms and brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine.records import Interval, Trial
from adamantine.study.statistics.intervals import mean_interval
from adamantine.study.statistics.robustness import robustness
from adamantine.study.statistics.survival import Arrival, survival, worst_best
from adamantine.study.statistics.trials import choose, trial_of
from adamantine.study.statistics.wording import ACCURACY, Scale, listed
from adamantine.study.statistics.wording import EPOCHS as IN_EPOCHS
from study.made import a_run, contestant


def test_mean_intervals_of_one_of_equals_and_of_a_textbook():
    one = mean_interval([0.3])
    assert one.value == 0.3
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert mean_interval([0.1, 0.1, 0.1]) == Interval(0.1, 0.1, 0.1)
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451052 * math.sqrt(2.5 / 5)  # the t table's 97.5 % at 4 degrees of freedom
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    assert mean_interval([4.0, 5.0], 0.0, 5.0).high == 5.0


# Trials


def test_the_best_mean_is_chosen_and_a_diverged_run_is_the_worst():
    trials = [
        Trial({}, 0.1, (0.8, 0.8), 0.8, 0.5),
        Trial({}, 0.2, (0.99, None), None, None),
        Trial({}, 0.3, (0.9, 0.7), 0.8, 0.4),
        Trial({}, 0.4, (0.8, 0.8), 0.8, 0.4),
    ]
    assert choose(trials).lr == 0.3  # of the tied, the lower loss, then the earlier
    assert choose(trials[::-1]).lr == 0.4
    assert choose([*trials, Trial({}, 0.5, (), 0.81, 9.0)]).lr == 0.5
    assert choose([*trials, Trial({}, 0.5, (), 0.1, 9.0)], "loss").lr == 0.5
    assert choose([*trials, Trial({}, 0.5, (), 0.1, 9.0)], "metric", "min").lr == 0.5
    # Means that differ in their last bit are tied.
    assert choose([Trial({}, 1.0, (), 0.3, 1.0), Trial({}, 2.0, (), 0.1 + 0.2, 2.0)]).lr == 1.0
    assert choose([trials[1]]) is None
    assert choose([]) is None


def test_trials_are_judged_by_the_last_look():
    run = a_run(curve=(0.5, 0.8), purpose="tune")
    last = replace(run.looks[-1], train_loss=0.11, validation_loss=0.22)
    run = replace(run, looks=(run.looks[0], last))
    scores = {
        what: trial_of({}, 1.0, [run], what).score for what in ("metric", "loss", "train-loss")
    }
    assert scores == {"metric": 0.8, "loss": 0.22, "train-loss": 0.11}
    trial = trial_of({}, 1.0, [run, a_run(diverged=60)], "metric")
    assert (trial.scores, trial.score, trial.validation_loss) == ((0.8, None), None, None)


def test_a_run_that_is_there_twice_is_one_seed():
    once = contestant("adam", finals=[a_run()])
    twice = replace(once, runs=(*once.runs, *once.runs[::-1]))
    assert twice.trials("metric") == once.trials("metric")


# Target and survival


def test_the_target_is_the_worst_contestants_best():
    good = [a_run(curve=(0.5, 0.99, 0.9)), a_run(curve=(0.5, 0.97, 0.9))]
    poor = [a_run(curve=(0.5, 0.8)), a_run(curve=(0.7, 0.6)), a_run(curve=(0.1, 0.1), diverged=60)]
    assert worst_best([good, poor], "max") == 0.75
    assert worst_best([good, poor], "min") == pytest.approx(0.55)
    assert math.isnan(worst_best([[], [a_run(diverged=1)]], "max"))


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=8))
def test_kaplan_meier_is_the_product_over_those_at_risk(runs):
    arrivals = [Arrival(float(t), 9.0) if event else Arrival(None, float(t)) for t, event in runs]
    found = survival(arrivals, 1.0)
    left = 1.0
    for time, share in zip(found.times, found.share, strict=True):
        at_risk = sum(t >= time for t, _ in runs)
        left *= 1 - sum(t == time and event for t, event in runs) / at_risk
        assert share == pytest.approx(1 - left)
    for low, share, high in zip(found.share_low, found.share, found.share_high, strict=True):
        assert 0 <= low <= share + 1e-12
        assert share - 1e-12 <= high <= 1
    assert list(found.share_low) == sorted(found.share_low)
    halves = [t for t, s in zip(found.times, found.share, strict=True) if s >= 0.5 - 1e-9]
    assert found.median == (halves[0] if halves else None)


def test_a_median_and_its_band_by_hand():
    """Ten runs; the log-log band of S = 1/2 after five of them is exp(-exp(ln ln 2 ± z s))."""
    found = survival([Arrival(float(t), 10.0) for t in range(1, 11)], 10.0)
    assert found.median == 5.0
    deviation = math.sqrt(sum(1 / (k * (k - 1)) for k in range(6, 11))) / math.log(2)
    low = 1 - math.exp(-math.exp(math.log(math.log(2)) - 1.959964 * deviation))
    high = 1 - math.exp(-math.exp(math.log(math.log(2)) + 1.959964 * deviation))
    assert found.share_low[4] == pytest.approx(low, rel=1e-5)
    assert found.share_high[4] == pytest.approx(high, rel=1e-5)
    # At S = 9/10 and 2/10 of ten, textbooks have the bounds 0.473 and 0.475.
    assert (1 - found.share_high[0], 1 - found.share_low[7]) == pytest.approx(
        (0.473, 0.475), abs=1e-3
    )
    assert (found.low, found.high) == (1.0, 8.0)


def test_those_who_never_come_count_with_the_budget():
    found = survival([Arrival(1.0, 5.0), Arrival(None, 5.0), Arrival(None, 5.0)], 5.0)
    assert (found.reached, found.runs, found.median) == (1, 3, None)
    assert found.mean.value == pytest.approx(11 / 3)
    assert found.mean.high == 5.0
    # In seconds every run counts with the fastest one's budget at most.
    assert survival([Arrival(9.0, 10.0), Arrival(None, 8.0)], 8.0).mean == Interval(8, 8, 8)


# Widths


def trials(rates, *scores):
    rows = list(zip(*scores, strict=True))
    means = [None if None in row else sum(row) / len(row) for row in rows]
    return [Trial({}, *cells) for cells in zip(rates, rows, means, strict=True)]


def test_a_parabola_in_log_lr_has_the_width_that_algebra_says():
    decades = np.linspace(-3, 1, 401)
    found = robustness(trials(10**decades, 0.9 - 0.009 * (decades + 1) ** 2), "max", 0.01)
    assert found.width.decades.value == pytest.approx(2.0, abs=1e-3)
    assert (found.width.low, found.width.high) == pytest.approx((0.01, 1.0), rel=1e-3)
    assert not found.width.open_below
    assert math.isnan(found.width.decades.low)  # of one seed
    assert found.variance == pytest.approx(2 * 0.01**2 / 12)


@pytest.mark.parametrize(
    ("scores", "direction", "low", "high", "open_"),
    [
        ((0.0, 1.0, 0.98), "max", 0.1 * 10**-0.01, 10**-0.5, (False, False)),
        ((4.0, 1.0, 1.02), "min", 0.1 * 10 ** (-0.01 / 3), 10**-0.5, (False, False)),
        ((1.0, 1.0, 1.0), "max", 0.01, 1.0, (True, True)),
        ((0.0, 1.0, None), "max", 0.1 * 10**-0.01, 0.1, (False, False)),
        ((-1.0, -1.0, -1.02), "max", 0.01, 10**-0.5, (True, False)),
        ((1.0, 0.0, 1.0), "min", 0.1, 0.1, (False, False)),
    ],
)
def test_edges(scores, direction, low, high, open_):
    found = robustness(trials((0.01, 0.1, 1.0), scores), direction, 0.01).width
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.open_below, found.open_above) == open_
    assert found.decades.value == pytest.approx(math.log10(high / low))


def test_the_best_of_a_learning_rate_counts_and_only_its_own_hill():
    several = trials((1.0, 0.1, 0.1, 0.01, 10.0), (0.5, 0.2, 0.9, 0.5, 0.9))
    found = robustness(several, "max", 0.01).width
    edge = 0.009 / 0.4
    assert (found.low, found.high) == pytest.approx((0.1 * 10**-edge, 0.1 * 10**edge))
    assert robustness(trials((0.1,), (None,)), "max", 0.01) is None
    assert robustness([], "max", 0.01) is None


def test_the_bootstrap_is_that_over_all_resamples_of_seeds():
    """Three seeds have 27 equally likely resamples; quantiles of their widths bracket ours."""
    rates = (0.01, 0.1, 1.0)
    scores = ((0.5, 0.9, 0.5), (0.7, 0.9, 0.8), (0.85, 0.9, 0.2))
    found = robustness(trials(rates, *scores), "max", 0.1, seed=3)
    every = sorted(
        robustness(trials(rates, *(scores[i] for i in picked)), "max", 0.1).width.decades.value
        for picked in np.ndindex(3, 3, 3)
    )
    assert found.width.decades.low == pytest.approx(every[0])
    assert found.width.decades.high == pytest.approx(every[-1])
    assert found == robustness(trials(rates, *scores), "max", 0.1, seed=3)
    alone = [robustness(trials(rates, row), "max", 0.1).width.decades.value for row in scores]
    assert found.per_seed == pytest.approx(alone)


# Words


def test_numbers_are_as_exact_as_their_intervals():
    assert ACCURACY.value(Interval(0.97812, 0.9768, 0.9794)) == "97.8% [97.7, 97.9]"
    assert ACCURACY.value(Interval(0.97812, math.nan, math.nan)) == "97.81%"
    assert IN_EPOCHS.difference(Interval(1.1, 0.51, 1.69)) == "1.10 epochs [0.51, 1.69]"
    assert IN_EPOCHS.difference(Interval(1.0, 0.004, 1.996)) == "1.000 epochs [0.004, 1.996]"
    assert Scale().value(Interval(0.0, 0.0, 0.0)) == "0.000 [0.000, 0.000]"
    assert Scale().value(Interval(1e-9, 0.9e-9, 1.1e-9)) == "1e-09 [9e-10, 1.1e-09]"
    assert listed(["a"]) + listed(["a", "b"]) + listed(["a", "b", "c"]) == "aa and ba, b and c"
