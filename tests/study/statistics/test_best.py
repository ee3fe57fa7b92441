"""How much worse than the best a contestant may be: against SciPy and simulated studies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adamantine.study.statistics.best import shortfalls
from adamantine.study.statistics.pairs import Sample

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


def samples(values, **rest):
    """A row for each contestant."""
    return [
        Sample(name, dict(enumerate(row)), **rest)
        for name, row in zip("abcdef", np.asarray(values).tolist(), strict=False)
    ]


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12))
def test_of_two_it_is_scipys_one_sided_bound(pairs):
    first, second = np.transpose(pairs)
    if np.ptp(first - second) < 1e-6:  # scipy warns of these
        return
    upper = stats.ttest_rel(second, first, alternative="less").confidence_interval(0.95).high
    found = shortfalls(samples([first, second]), "max")
    assert found["a"] == pytest.approx(max(0.0, upper), rel=1e-6, abs=1e-6)
    assert shortfalls(samples([-first, -second]), "min") == found


def test_each_of_several_is_held_against_all_others():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6)) + np.array([[0.0], [0.5], [1.0], [1.5]])
    found = shortfalls(samples(values), "max")
    for place, name in enumerate("abcd"):
        bounds = [
            stats.ttest_rel(other, values[place], alternative="less")
            .confidence_interval(1 - 0.05 / 3)
            .high
            for index, other in enumerate(values)
            if index != place
        ]
        assert found[name] == pytest.approx(max(0.0, *bounds))


@pytest.mark.parametrize(("contestants", "seeds"), [(2, 3), (3, 5), (5, 3)])
@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_in_a_twentieth_of_studies_at_most_somebody_is_further_from_the_best(
    contestants, seeds, gap
):
    """Whoever is chosen, by whatever rule. Seeds have something in common, which cancels."""
    rng = np.random.default_rng([contestants, seeds])
    levels = -gap * np.arange(contestants)
    studies, wrong = 1000, 0
    for _ in range(studies):
        noise = rng.normal(size=(contestants, seeds)) + 3 * rng.normal(size=seeds)
        found = shortfalls(samples(levels[:, None] + noise), "max")
        wrong += any(-levels[i] > found["abcdef"[i]] + 1e-12 for i in range(contestants))
    assert wrong <= stats.binom.ppf(0.999, studies, 0.05)
    if contestants == 2 and gap:
        assert wrong >= stats.binom.ppf(0.001, studies, 0.05)  # and no larger than it must be


def test_what_rounding_leaves_is_counted():
    equal = samples([[0.9, 0.8], [0.9, 0.8]])
    assert shortfalls(equal, "max") == {"a": 0.0, "b": 0.0}
    rounded = samples([[0.9, 0.8], [0.9, 0.8]], rounding=1e-4)
    expected = stats.t.isf(0.05, 1) * (2e-4 / 2) ** 0.5
    assert shortfalls(rounded, "max")["a"] == pytest.approx(expected)


def test_without_two_to_compare_or_with_one_seed_nothing_is_said():
    assert shortfalls(samples([[0.9, 0.8]]), "max") == {}
    assert shortfalls(samples([[0.9], [0.8]]), "max") == {}
    lost = Sample("lost", {0: 0.5}, reason="it diverged")
    assert shortfalls([*samples([[0.9, 0.8]]), lost], "max") == {}
    pair = samples([[0.9, 0.8], [0.7, 0.7]])
    assert shortfalls([*pair, lost], "max") == shortfalls(pair, "max")
