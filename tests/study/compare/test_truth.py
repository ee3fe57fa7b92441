"""Whole studies of optimizers that do not differ, and of some that do: what is said of them."""

import cheap
import pytest
from scipy import stats

from adamantine.study import Plan, compare

TEST = cheap.examples(400, 2)
STUDIES = 60  # the statistics alone are tried on many more, in test_pairs.py


def differences(contestants, number):
    plan = Plan(
        contestants, seeds=5, budget=2, tuning_seeds=1, epochs=1, batch_size=50, looks=1,
        seed=10_000 * number,
    )  # fmt: skip
    study = compare(cheap.cheap(test=TEST), plan)
    return study, [d for d in study.differences if d.quantity == "metric"]


@pytest.mark.slow
def test_two_draws_of_one_optimizer_are_called_different_in_a_twentieth_of_studies_at_most():
    """They begin from weights that are shaken differently, so that no two runs are equal."""
    wrong = 0
    for number in range(STUDIES):
        study, found = differences(("cheap:Shaken", "cheap:ShakenOtherwise"), number)
        assert all(d.difference.value != 0 or d.p == 1 for d in found)
        wrong += any(d.better for d in found)
        if not any(d.better for d in study.differences):
            assert not any(" faster than " in finding.sentence for finding in study.verdict)
    assert wrong <= stats.binom.ppf(0.999, STUDIES, 0.05)


@pytest.mark.parametrize("other", ["adam", "torch:Adam"])
def test_adam_is_adam(other):
    for number in range(10):
        _, (found,) = differences(("adam", other), number)
        assert found.better is None
        if other == "adam":
            assert (found.second, found.p) == ("adam#2", 1.0)


def test_an_optimizer_that_stands_still_is_found_to_be_worse():
    """With plans as above, and learning rates far too small for one of the two."""
    _, (found,) = differences(("adam:lr=0.1", "sgd:lr=1e-12"), 0)
    assert found.better == "adam(lr=0.1)"
    assert found.difference.low > 0
