"""What pages say in words is what the saved records say, and no figure is left that has none."""

from __future__ import annotations

import re
import shlex

import pytest
import quoted_from_benchmarks as benchmarks
import quoted_from_studies as studies
from benchmarks.studies.catalogue import STUDIES
from benchmarks.studies.comparison import Comparison, study_of

from benchmarks import __main__ as command
from benchmarks import pages

DOCS = pages.PAGE.parent


def read(page):
    """A page of the documentation, or the README beside it."""
    return (DOCS / page).read_text(encoding="utf-8")


class Records(dict):
    """Studies and benchmarks by name."""

    def study(self, name):
        return study_of(self[name])


@pytest.fixture(scope="module")
def records():
    of_studies = pages.saved(STUDIES, SAVED)
    return Records({**pages.saved(command.all_modules(), command.RESULTS), **of_studies})


SAVED = command.RESULTS / "studies"
QUOTED = {
    "../README.md": benchmarks.of_readme,
    "claims.md": studies.of_claims,
    "paper.md": studies.of_paper,
    "lr_find.md": studies.of_lr_find,
    "statistics.md": studies.of_statistics,
    "tune.md": studies.of_tune,
    "tutorials/memory.md": benchmarks.of_memory,
    "which.md": studies.of_which,
    "workloads.md": studies.of_workloads,
    "precision.md": benchmarks.of_precision,
    "stats.md": benchmarks.of_stats,
    "step_options.md": benchmarks.of_step_options,
    "in_backward.md": benchmarks.of_in_backward,
    "sparse.md": benchmarks.of_sparse,
    "precision_grids.md": benchmarks.of_grids,
}

SETTINGS = {
    "../README.md": {"2.0"},  # the licence
    "lr_find.md": {"5 %", "90 %", "95 %", "3.3", "0.9", "1506.01186", "1803.02021"},  # of papers
    "statistics.md": {"0.005", "0.05", "1 %", "5 %", "80 %", "95 %"},  # levels
    "precision.md": {"0.1", "0.999", "1.875"},  # of formats
    "workloads.md": {"3.11", "6.1", "6.2"},  # of Python; sections of the paper
    "tune.md": {"95 %"},
    "which.md": {"0.1", "1.2", "1.4", "1.1", "2605.10468"},  # of papers
    "sparse.md": {"0.8", "0.9", "0.999"},
    "precision_grids.md": {"0.9", "0.999", "0.001", "0.09", "0.002"},
    "stats.md": {"0.0001", "0.001", "0.01", "95 %"},  # rules of thumb; a quantile
    "claims.md": {"95 %", "0.001", "0.01"},  # of intervals and targets; of tutorials
    "paper.md": {"0.001", "0.7", "0.25", "6.1", "6.2"},  # of the search and of the paper
}
"""Figures that are no findings of ours."""


@pytest.mark.parametrize("page", QUOTED)
def test_sentences_say_what_the_records_say(page, records):
    text = " ".join(read(page).split())
    for phrase in QUOTED[page](records):
        assert phrase in text, phrase


WRITTEN = re.compile(
    r"<!-- python -m benchmarks --pages.*?<!-- end -->|^```.*?^```|^ {4}.*?$|^\|.*?$",
    re.MULTILINE | re.DOTALL,
)
"""Tables are written from the records, or tested on their own; blocks of code are run."""
CODE = re.compile(r"https?://\S+|`[^`]*`|\]\([^)]*\)")
FIGURE = re.compile(r"\d[\d,]*\.\d+(?: ?%)?|\d+ ?%")


@pytest.mark.parametrize("page", QUOTED)
def test_no_figure_is_without_a_record(page, records):
    """Of those with a point or a per cent sign: whole numbers count seeds, epochs and units."""
    text = " ".join(WRITTEN.sub("", read(page)).split())
    for phrase in QUOTED[page](records):
        text = text.replace(phrase, "")
    assert set(FIGURE.findall(CODE.sub("", text))) <= SETTINGS.get(page, set())


PAGES = {"claims": "claims.md", "claims-untuned": "claims.md"} | {
    name: "paper.md" for name in STUDIES if name.startswith("paper-")
}


@pytest.mark.parametrize("name", sorted({*PAGES} & {path.stem for path in SAVED.glob("*.json")}))
def test_the_command_on_the_page_is_the_one_that_was_run(name):
    study = STUDIES[name]
    assert isinstance(study, Comparison)
    shown = re.findall(
        r"adamantine compare (.*?)(?:\n```|\n(?=adamantine)|`)",
        read(PAGES[name]).replace("\\\n", " "),
        re.DOTALL,
    )
    words = [re.sub(r"--out \S+", "", one).partition("#")[0] for one in shown]
    assert sorted(shlex.split(study.arguments)) in [sorted(shlex.split(one)) for one in words]


def test_records_say_what_was_run(records):
    for name, study in STUDIES.items():
        if name in records and isinstance(study, Comparison):
            assert records[name]["arguments"] == study.arguments, f"run {name} again"
