import math
from dataclasses import replace

import pytest
from study_fixture import study
from test_curves import count, pixels
from test_study_page import NASTY, never, without_bounds

from adamantine.report.marks import mark
from adamantine.report.panels import COLOURS
from adamantine.report.study import data, study_pngs

ALL = [
    "costs.png",
    "curves.png",
    "final.png",
    "learning_rates.png",
    "overview.png",
    "time_to_target.png",
]


@pytest.fixture(scope="module")
def pictures():
    return study_pngs(study(3))


def test_there_are_six_pictures_with_every_contestant_in_each(pictures):
    assert sorted(pictures) == ALL
    for name, png in pictures.items():
        for index in range(3):
            assert count(png, COLOURS[index]) > 300, name


def test_the_overview_is_wide(pictures):
    width, height = pixels(pictures["overview.png"])
    assert width == 3000
    assert width > 3 * height


def test_equal_records_give_equal_bytes(pictures):
    assert study_pngs(study(3)) == pictures


# Drawing takes a second each, so that each of these has several things that are unusual.
UNUSUAL = {
    "seven, one without runs, no bounds, never reached": without_bounds(
        never(study(7, hopeless=(3,)))
    ),
    "one seed, names that look like formulas, smaller is better, judged by the loss": replace(
        study(2, 1, diverged=(), metric="$x_", direction="min", names=(NASTY, "$a$")),
        plan={"tune_for": "loss"},
    ),
}


def only_one_trial(record):
    (one,) = record.contestants
    lr = one.trials[0].lr
    width = replace(one.width, low=lr, high=lr)
    return replace(record, contestants=(replace(one, trials=one.trials[:1], width=width),))


UNUSUAL["one learning rate"] = only_one_trial(study(1, 1, diverged=()))


FIRST, *OTHERS = UNUSUAL


@pytest.mark.parametrize(
    "name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_whatever_the_record_there_are_pictures(name):
    found = study_pngs(UNUSUAL[name])
    assert sorted(found) == ALL
    for png in found.values():
        assert min(pixels(png)) > 300


@pytest.mark.slow
def test_runs_that_all_diverged_have_curves_and_no_final_metric():
    found = study_pngs(study(1, seeds=1, diverged=(0,)))
    assert sorted(found) == [name for name in ALL if name not in ("final.png", "costs.png")]


def test_without_final_runs_there_is_the_tuning():
    found = study_pngs(study(2, hopeless=(0, 1), differences=False))
    assert sorted(found) == ["learning_rates.png", "overview.png"]


def test_marks_differ_in_more_than_colour():
    marks = [mark(index) for index in range(12)]
    assert len({(its.colour, its.dash) for its in marks}) == 12
    assert len({its.symbol for its in marks[:8]}) == 8
    assert len({its.glyph for its in marks[:8]}) == 8


def test_diverged_trials_stand_beyond_the_worst_score_on_the_bad_side():
    for direction, beyond in (("max", min), ("min", max)):
        record = study(2, metric="score", direction=direction)
        scores = [
            s for c in record.contestants for t in c.trials for s in t.scores if s is not None
        ]
        floor = data.floor(record)
        assert beyond([floor, *scores]) == floor
        assert floor not in scores


def test_stairs_begin_at_zero_and_end_with_the_budget_of_the_unit():
    record = study(2)
    one = record.contestants[0]
    for unit, end in (("epochs", 5.0), ("steps", 450.0)):
        stairs = data.steps(record, one, unit)
        assert (stairs.times[0], stairs.share[0]) == (0.0, 0.0)
        assert stairs.times[-1] == end
    own = [run.seconds for run in record.runs if run.contestant == one.name]
    assert data.steps(record, one, "seconds").times[-1] == max(own)


def test_a_curve_with_a_look_that_is_not_finite_has_a_gap_there():
    record = study(1, seeds=2, diverged=())
    first, second = record.runs
    looks = (replace(first.looks[0], train_loss=math.nan), *first.looks[1:])
    curve = data.curve([replace(first, looks=looks), second], "train_loss")
    assert math.isnan(curve.mean[0])
    assert math.isfinite(curve.mean[1])
