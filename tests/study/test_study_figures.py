"""Trials, targets, widths and whole studies: closed forms, brute force, and what sentences say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adamantine.records import Divergence, Interval, StudyRecord, Trial
from adamantine.study.groups import better_than, indistinct
from adamantine.study.intervals import mean_interval
from adamantine.study.target import Arrival, survival, worst_best
from adamantine.study.trials import choose, trial_of
from adamantine.study.width import robustness
from adamantine.study.wording import ACCURACY, Scale, listed
from adamantine.study.wording import EPOCHS as IN_EPOCHS
from study.made import EPOCHS, STEPS, a_run, contestant, study


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


# Whole studies


def curves(level, speed):
    return [level * (1 - 0.9 * math.exp(-speed * k / 4)) for k in range(1, 21)]


def finals(name, level, speed, seeds=5, spread=0.001, **rest):
    return [
        a_run(
            name,
            seed=100 + s,
            curve=curves(level, speed * (1 + 0.05 * math.sin(7 * s + speed))),
            test=level + spread * math.sin(3 * s + 40 * level),
            **rest,
        )
        for s in range(seeds)
    ]


def lost_at(step, run):
    return replace(run, diverged=Divergence(step, math.nan), test_metric=None, test_loss=None)


ADAM = contestant("adam", finals=finals("adam", 0.97, 2.0))
SGD = contestant("sgd", finals=finals("sgd", 0.93, 1.0), optimizer="torch.optim.SGD")
MOMENTUM = contestant(
    "momentum",
    finals=finals("momentum", 0.9702, 1.2),
    optimizer="adamantine.SGD",
    settings={"momentum": 0.9},
)


def sentences(found, about=None):
    return [f.sentence for f in found.verdict if about in (None, f.about)]


def test_three_contestants_read_as_they_should():
    found = study([ADAM, SGD, MOMENTUM], target=0.9, resolution=0.001)
    speed = sentences(found, "speed")
    assert speed[0].startswith("adam reaches 90.00% in 1.4 epochs [")
    assert "adam is faster than momentum and sgd." in speed
    final = sentences(found, "final")
    assert "adam and momentum are better than sgd." in final
    assert final[-1].startswith(
        "No difference in final accuracy between adam and momentum could be shown with 5 seeds"
        " (a difference under "
    )
    assert sentences(found, "cost") == [
        "Bytes of optimizer state for each parameter: adam, momentum and sgd 8."
    ]
    assert not sentences(found, "caution")
    assert [claim.holds for claim in found.claims] == ["yes", "not shown", "not shown"]
    assert found.claims[0].evidence.startswith("epochs to 90.00%: adam 1.4 [")
    assert (found.target, found.target_source) == (0.9, "given")


def test_claims_turn_with_the_numbers_and_need_their_contestants():
    slow = contestant("adam", finals=finals("adam", 0.95, 0.8))
    fast = contestant("sgd", finals=finals("sgd", 0.93, 3.0), optimizer="torch.optim.SGD")
    found = study([MOMENTUM, fast, slow], target=0.9)
    assert [claim.holds for claim in found.claims] == ["no", "not shown", "yes"]
    assert [len(study(some, target=0.9).claims) for some in ([ADAM], [ADAM, SGD], [SGD])] == [
        0,
        2,
        0,
    ]


def test_divergence_edges_and_arrivals_are_told():
    runs = finals("rmsprop", 0.97, 2.0)
    unlucky = [lost_at(31, run) if run.seed == 102 else run for run in runs]
    lost = ((0.01, (None, 0.5, 0.5)), (0.1, (None, None, None)))
    edge = ((0.01, (0.5, 0.5, 0.5)), (0.1, (0.9, 0.9, 0.9)))
    found = study(
        [
            ADAM,
            contestant("rmsprop", finals=unlucky, tuned=edge),
            contestant("lost", finals=[], tuned=lost),
            contestant("low", finals=finals("low", 0.5, 1.0)),
        ],
        target=0.9,
    )
    told = " ".join(sentences(found, "caution"))
    assert "rmsprop diverged in 1 of 5 final runs (at step 31, loss nan)" in told
    assert "The learning rate chosen for rmsprop, 0.1, is the largest of those tried" in told
    assert "lost diverged with each of its 2 settings: it has no final runs" in told
    assert "low never within 5 epochs" in sentences(found, "speed")[0]
    reasons = {(d.first, d.second, d.quantity): d.reason for d in found.differences}
    assert reasons["adam", "rmsprop", "metric"] == "rmsprop diverged in 1 of 5 runs"
    assert reasons["adam", "rmsprop", "epochs_to_target"] == ""
    assert "lost" in reasons["adam", "lost", "metric"]
    by_name = {c.name: c for c in found.contestants}
    assert (by_name["lost"].settings, by_name["lost"].metric, by_name["lost"].width) == (
        {},
        None,
        None,
    )
    assert (by_name["rmsprop"].diverged, by_name["rmsprop"].on_edge) == (1, "above")


def test_a_diverged_run_never_arrives_and_is_censored_at_the_budget():
    runs = [
        a_run(curve=curves(0.97, 2.0), seed=1),
        a_run(curve=curves(0.97, 0.3), seed=2, diverged=50),
    ]
    (found,) = study([contestant("adam", finals=runs)], target=0.9).contestants
    assert found.epochs_to_target.reached == 1
    assert max(found.epochs_to_target.times) == EPOCHS
    assert max(found.steps_to_target.times) == STEPS
    assert max(found.seconds_to_target.times) == pytest.approx(0.01 * STEPS)
    assert found.seconds_per_step == pytest.approx(0.01)


def test_a_study_of_nothing_but_divergence_is_a_result():
    runs = {n: [a_run(n, seed=s, diverged=3, curve=(0.1,)) for s in range(3)] for n in "ab"}
    bad = [contestant(name, finals=some) for name, some in runs.items()]
    found = study(bad)
    assert math.isnan(found.target)
    assert found.contestants[0].epochs_to_target is None
    assert {d.better for d in found.differences} == {None}
    assert "a diverged in 3 of 3 final runs" in " ".join(sentences(found))


def test_one_seed_compares_nothing_and_says_so():
    single = [
        contestant(n, finals=finals(n, 0.9, 1.0, seeds=1), tuned=((0.1, (0.9,)),)) for n in "ab"
    ]
    found = study(single)
    assert all(d.difference is None for d in found.differences)
    assert "one seed cannot tell a difference from chance" in " ".join(sentences(found, "caution"))


levels = st.floats(0.5, 0.99)
made = st.lists(st.tuples(levels, st.floats(0.2, 3.0), st.integers(0, 2)), min_size=2, max_size=5)


@settings(deadline=None, max_examples=25)
@given(made, st.sampled_from(["max", "min"]), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_no_winner_is_named_whose_interval_covers_zero(
    rows, direction, random
):
    contestants = []
    for name, (level, speed, lost) in zip("abcde", rows, strict=False):
        runs = finals(name, level, speed, spread=0.02)
        runs = [lost_at(9, r) if i < lost - 1 else r for i, r in enumerate(runs)]
        contestants.append(contestant(name, finals=runs))
    found = study(contestants, direction=direction, resolution=1 / 360)
    assert "nan" not in " ".join(s for s in sentences(found) if "diverged" not in s)
    shown = {
        (d.better, d.second if d.better == d.first else d.first)
        for d in found.differences
        if d.difference is not None and (d.difference.low > 0 or d.difference.high < 0)
    }
    for sentence in sentences(found):
        for word in ("faster", "better", "less sensitive to the learning rate"):
            winners, found_word, losers = sentence.partition(f" {word} than ")
            if found_word and "may lie" not in sentence:
                names = winners.replace(",", "").replace(" and", "").split()[:-1]
                beaten = losers.split(" by ")[0].rstrip(".").replace(",", "").replace(" and", "")
                assert {(w, lost) for w in names for lost in beaten.split()} <= shown
    shuffled = list(contestants)
    random.shuffle(shuffled)
    again = study(shuffled, direction=direction, resolution=1 / 360)
    assert again.verdict == found.verdict
    assert {c.name: c for c in again.contestants} == {c.name: c for c in found.contestants}


def test_figures_survive_json_and_settings_that_went_through_it():
    given = contestant("adam", finals=finals("adam", 0.97, 2.0), settings={"betas": (0.9, 0.99)})
    stored = replace(
        given, runs=[replace(r, settings={k: list(v) if k == "betas" else v
                                          for k, v in r.settings.items()}) for r in given.runs]
    )  # fmt: skip
    assert study([stored, SGD]).contestants[0].trials == study([given, SGD]).contestants[0].trials
    found = study([ADAM, SGD])
    record = StudyRecord(
        plan={}, metric="accuracy", direction="max", runs=(), versions={}, machine={}, **vars(found)
    )
    assert StudyRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("size", [1e-250, 1e250, 1.7e308])
def test_losses_whose_squares_float64_cannot_hold(size):
    """A quadratic ends at 1e-250, or nearly diverges; neither may end the study."""
    made_up = []
    for name, shift in (("a", 0.0), ("b", 0.5)):
        tests = [(0.1 + shift + 0.01 * s * (1 - shift)) * size for s in range(5)]
        runs = [a_run(name, seed=s, test=1.0) for s in range(5)]
        runs = [replace(r, test_metric=t, test_loss=t) for r, t in zip(runs, tests, strict=True)]
        made_up.append(contestant(name, finals=runs))
    found = study(made_up, metric="loss", direction="min")
    (pair,) = [d for d in found.differences if d.quantity == "metric"]
    expected = stats.ttest_rel(
        *[[0.1 + s + 0.01 * i * (1 - s) for i in range(5)] for s in (0, 0.5)]
    )
    assert (pair.better, pair.p) == ("a", pytest.approx(expected.pvalue, rel=1e-6))
    assert any("a is better than b by" in text for text in sentences(found, "final"))


# Words


def test_numbers_are_as_exact_as_their_intervals():
    assert ACCURACY.value(Interval(0.97812, 0.9768, 0.9794)) == "97.8% [97.7, 97.9]"
    assert ACCURACY.value(Interval(0.97812, math.nan, math.nan)) == "97.81%"
    assert IN_EPOCHS.difference(Interval(1.1, 0.51, 1.69)) == "1.10 epochs [0.51, 1.69]"
    assert IN_EPOCHS.difference(Interval(1.0, 0.004, 1.996)) == "1.000 epochs [0.004, 1.996]"
    assert Scale().value(Interval(0.0, 0.0, 0.0)) == "0.000 [0.000, 0.000]"
    assert Scale().value(Interval(1e-9, 0.9e-9, 1.1e-9)) == "1e-09 [9e-10, 1.1e-09]"
    assert listed(["a"]) + listed(["a", "b"]) + listed(["a", "b", "c"]) == "aa and ba, b and c"


@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_groups_hold_every_pair_and_nothing_else(links):
    size = math.isqrt(len(links))
    found = study([ADAM, SGD]).differences[0]
    pairs = [
        replace(found, first="abcdef"[i], second="abcdef"[j], better="abcdef"[i])
        for i in range(size)
        for j in range(i)
        if links[i * size + j]
    ]
    names = {frozenset((p.first, p.second)) for p in pairs}
    groups = [set(group) for group in indistinct(pairs)]
    assert {frozenset((a, b)) for g in groups for a in g for b in g if a != b} == names
    assert not any(a < b for a in groups for b in groups)
    shown = [
        (winner, loser)
        for winners, losers in better_than(pairs)
        for winner in winners
        for loser in losers
    ]
    assert sorted(shown) == sorted((p.first, p.second) for p in pairs)
