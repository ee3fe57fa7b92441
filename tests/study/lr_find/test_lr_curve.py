"""Reading curves whose answer is known."""

import numpy as np
import pytest

from adamantine.study.lr_find.curve import (
    diverging,
    falling,
    has_failed,
    is_bracketed_below,
    progress,
    rising,
    smooth,
)

RATES = np.geomspace(1e-2, 1e2, 9)
TENT = 1 - np.abs(np.log10(RATES)) / 2  # 1 at a rate of 1, 0 at both ends


def test_rises_and_falls_where_the_line_does():
    assert rising(RATES, TENT, 0.9) == pytest.approx(10**-0.2)
    assert falling(RATES, TENT, 0.9) == pytest.approx(10**0.2)


def test_shares_are_of_the_best():
    assert rising(RATES, 7 * TENT, 0.9) == pytest.approx(rising(RATES, TENT, 0.9))


def test_a_curve_that_is_good_up_to_its_end_ends_there():
    flat = np.ones(9)
    assert rising(RATES, flat, 0.9) == RATES[0]
    assert falling(RATES, flat, 0.9) == pytest.approx(RATES[-1])


def test_a_dip_below_the_level_ends_the_range():
    curve = np.array([0.0, 1.0, 0.5, 1.0, 2.0, 1.9, 0.0, 1.9, 0.0])
    assert RATES[3] < rising(RATES, curve, 0.9) < RATES[4]
    assert RATES[5] < falling(RATES, curve, 0.9) < RATES[6]
    assert diverging(RATES, curve) == RATES[6]


def test_what_never_fails_does_not_diverge():
    assert diverging(RATES, np.linspace(0, 1, 9)) is None


def test_the_walk_knows_its_ends():
    assert has_failed({0: 1.0, 1: 0.5})
    assert not has_failed({0: 1.0, 1: 0.51})
    assert has_failed({3: 0.0}), "a first rate that explodes: better ones are below"
    assert is_bracketed_below({0: 0.89, 1: 1.0})
    assert not is_bracketed_below({0: 0.9, 1: 1.0})
    assert not is_bracketed_below({3: 0.0})


def test_progress_of_what_exploded_is_none():
    ends = np.array([[1.0, 3.0, np.nan, np.inf]])
    assert progress(np.full(4, 2.0), ends).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_smoothing_does_not_lag():
    rates = np.geomspace(1e-4, 1e4, 81)
    valley = np.abs(np.log10(rates))
    assert smooth(rates, valley[None]).argmin() == 40
    assert smooth(rates, valley[None]) == pytest.approx(smooth(rates, valley[None])[::-1])


def test_smoothing_keeps_a_constant_and_one_seed_that_explodes_counts_for_little():
    rates = np.geomspace(1e-4, 1e4, 81)
    assert smooth(rates, np.full((3, 81), 2.3)) == pytest.approx(2.3)
    losses = np.tile(np.abs(np.log10(rates)), (3, 1))
    exploded = losses.copy()
    exploded[0, 30:] = np.nan
    exploded[1, 50:] = losses[1, 50:] - 0.01  # the median is one of the other two
    assert smooth(rates, exploded).argmin() == 40


def test_an_explosion_does_not_reach_back():
    rates = np.geomspace(1e-4, 1e4, 81)
    losses = 2.0 - 0.01 * np.arange(81)
    losses[61:] = 1e30
    smoothed = smooth(rates, losses[None])
    assert 1.3 < smoothed.min() < smoothed.max() < 2 + 0.7
