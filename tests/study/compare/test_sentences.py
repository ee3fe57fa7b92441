"""Whole studies: what their sentences say, and what numbers say it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adamantine.records import Divergence, StudyRecord
from adamantine.study.statistics.groups import better_than, indistinct
from study.made import EPOCHS, STEPS, a_run, contestant, study


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
    theirs = replace(ADAM, optimizer="my_module.Adam")  # may be anything
    assert not study([theirs, SGD], target=0.9).claims


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
                clause = winners.rpartition("; ")[2]
                names = clause.replace(",", "").replace(" and", "").split()[:-1]
                beaten = (
                    losers.split(" by ")[0]
                    .split(";")[0]
                    .rstrip(".")
                    .replace(",", "")
                    .replace(" and", "")
                )
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
