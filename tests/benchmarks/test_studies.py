"""Studies run, their records are small and whole, and tables read them rightly."""

import dataclasses
import json
import shlex

import numpy as np
import pytest
from benchmarks.measure import BenchmarkError
from benchmarks.records import Options
from benchmarks.studies import blocks, lr_find, which
from benchmarks.studies.catalogue import STUDIES
from benchmarks.studies.compact import compact, restored
from benchmarks.studies.comparison import study_of

from adamantine.records import StudyRecord
from benchmarks import __main__ as command
from benchmarks import pages


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "claims",
        "lr-find",
        "equals",
        "decisions",
        "words",
        "tune-example",
        "samplers",
        "pruning",
        "searches",
    ],
)
def test_a_study_runs_and_prints(name, tmp_path):
    study = STUDIES[name]
    found = study.run(Options(quick=True, jobs=1, journals=tmp_path))
    found = json.loads(json.dumps(found))
    assert study.to_markdown(found)
    for image in study.images(found).values() if hasattr(study, "images") else ():
        assert image.startswith(b"\x89PNG")


def test_records_fit_into_the_repository():
    for path in (command.RESULTS / "studies").glob("*.json"):
        assert path.stem in STUDIES
        assert path.stat().st_size < 200_000


def test_a_compact_record_is_the_study_to_six_digits():
    found = pages.saved(["claims"], command.RESULTS / "studies")["claims"]
    study = study_of(found)
    assert isinstance(study, StudyRecord)
    assert {run.purpose for run in study.runs} == {"final"}
    assert len(study.runs[0].looks) == 20
    again = compact(study.to_json())
    assert again | found["study"] == again  # a record need not have what is newer than itself
    assert again.keys() - found["study"].keys() <= {"decision"}


def test_a_report_begins_with_the_decision_and_ranks_by_the_final_score():
    found = pages.saved(["claims"], command.RESULTS / "studies")["claims"]
    study, report = study_of(found), which.report(found)
    printed, decision = report.split("\n```\n\n", 1)
    assert shlex.split(printed.removeprefix("```sh\n").replace("\\\n", " ")) == [
        "adamantine",
        "compare",
        *shlex.split(found["arguments"]),
    ]
    assert decision.startswith(f"> {study.verdict[0].sentence}")
    assert report.endswith(f"- {study.verdict[-1].sentence}")
    means = {one.name: one.metric.value for one in study.contestants}
    rows = which.table(study).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == sorted(
        means, key=means.get, reverse=True
    )
    lost = dataclasses.replace(study.contestants[1], metric=None)
    others = (lost, study.contestants[0], study.contestants[2])
    unlucky = dataclasses.replace(study, contestants=others, direction="min")
    assert [one.name for one in which.ranked(unlucky)] == [
        *sorted({*means} - {lost.name}, key=means.get),
        lost.name,
    ]


def test_restoring_puts_looks_back():
    looks = [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 0.25}]
    data = {"plan": {"looks": 4}, "runs": [{"looks": looks}, {"looks": []}], "machine": {"host": 1}}
    small = compact(data)
    assert small["runs"][0]["looks"] == {"step": [1, 2], "loss": [0.333333, 0.25]}
    expected = [{"step": 1, "loss": 0.333333}, {"step": 2, "loss": 0.25}]
    assert restored(small) == {
        "plan": {"looks": 4},
        "runs": [{"looks": expected}, {"looks": []}],
        "machine": {},
    }


def page(name):
    return f"before\n<!-- python -m benchmarks --pages: {name} -->\nold\n<!-- end -->\nafter\n"


def test_a_block_is_written_between_its_marks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCKS", {"one": lambda records: records["a"]["text"]})
    written = blocks.written(page("one"), {"a": {"text": "new"}}, "page.md")
    assert written == page("one").replace("old\n", "\nnew\n\n")
    assert blocks.written(written, {"a": {"text": "new"}}, "page.md") == written


def test_a_block_that_cannot_be_written_is_an_error(monkeypatch):
    with pytest.raises(BenchmarkError, match=r"page\.md: no block 'unknown'; expected claims"):
        blocks.written(page("unknown"), {}, "page.md")
    with pytest.raises(BenchmarkError, match="run `python -m benchmarks claims-95`"):
        blocks.written(page("claims"), {}, "page.md")


RATES = np.geomspace(1e-4, 1, 101)
FALL = 2 - np.exp(-((np.log10(RATES) + 1.5) ** 2))
"""Lowest at 10^-1.5."""


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lr_find.tenth_of_minimum, 10**-2.5),
        (lr_find.steepest, 10 ** (-1.5 - 0.5**0.5)),  # a Gaussian's point of inflection
        (lr_find.valley, 10**-2.75),  # it falls from 10^-4 on
    ],
)
def test_rules_read_a_curve_that_is_known(read, expected):
    assert np.log10(read(RATES, FALL)) == pytest.approx(np.log10(expected), abs=0.05)


def test_a_moving_average_ends_where_the_loss_explodes():
    losses = np.array([2.0, 1.0, 1.0, 400.0, 1.0])
    found = lr_find.moving_average(RATES[:5].tolist(), losses, keep=0.5)
    assert found == pytest.approx([2.0, 4 / 3, 8 / 7])


def test_the_truth_is_the_range_within_half_a_point():
    runs = [[1e-3, [0.95]], [2e-3, [0.971]], [4e-3, [0.975]], [8e-3, [0.972]], [1e-2, [None]]]
    truth = lr_find.truth_of({"truth": {"mnist": {"adam": runs}}}, "mnist", "adam")
    assert truth == (4e-3, 0.975, 2e-3, 8e-3)
    assert lr_find.inside(truth, [1e-3, 2e-3, 3e-3, 9e-3]) == 2
