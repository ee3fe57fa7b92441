"""What pages say in words is what the saved records say, and no figure is left that has none."""

from __future__ import annotations

import re
import shlex
from statistics import fmean

import pytest
from benchmarks.studies import paper
from benchmarks.studies.blocks import BLOCK
from benchmarks.studies.catalogue import STUDIES
from benchmarks.studies.comparison import Comparison, contestant, study_of

from benchmarks import __main__ as command
from benchmarks import pages

DOCS = pages.PAGE.parent


def read(page):
    return (DOCS / page).read_text(encoding="utf-8")


class Records(dict):
    """Studies by name."""

    def study(self, name):
        return study_of(self[name])


@pytest.fixture(scope="module")
def records():
    return Records(pages.saved(STUDIES, command.RESULTS / "studies"))


def interval(estimate, scale=1, digits=1):
    value, low, high = (
        f"{scale * number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return value, f"[{low}, {high}]"


def per_cent(estimate):
    value, ends = interval(estimate, 100, 2)
    return f"{value} % {ends}"


def pair(study, first, second, quantity):
    (found,) = (
        each
        for each in study.differences
        if (each.first, each.second, each.quantity) == (first, second, quantity)
    )
    return found


def of_claims(records):
    tuned, to_95, untuned = map(records.study, ("claims", "claims-95", "claims-untuned"))
    assert [claim.holds for claim in tuned.claims] == ["not shown", "yes", "not shown"]
    assert to_95.claims[0].holds == "no"
    yield f"not to {100 * to_95.target:.0f} % accuracy, once SGD's learning rate is tuned too"
    yield f"to {100 * tuned.target:.1f} %, no difference could be shown"
    yield f"{100 * tuned.target:.1f} % is the worst one's best"
    yield f"Share of runs that have reached {100 * tuned.target:.1f} %"
    adam, sgd, momentum = (contestant(tuned, name) for name in ("adam", "sgd", "momentum"))
    assert pair(to_95, "adam", "sgd", "epochs_to_target").better == "sgd"
    assert pair(to_95, "adam", "momentum", "epochs_to_target").better == "momentum"
    yield (
        f"At its best rate ({sgd.settings['lr']:.2g}) plain SGD is *faster* than Adam at its own "
        f"({adam.settings['lr']:.2g}), and so is momentum"
    )
    early = {name: contestant(untuned, name) for name in ("adam", "momentum", "sgd")}
    assert early["sgd"].epochs_to_target.reached == 0
    times = [" ".join(interval(early[n].epochs_to_target.mean)) for n in ("adam", "momentum")]
    yield (
        f"it reaches 95 % in {times[0].replace(' [', ' epochs [')}, momentum in {times[1]}, and "
        "SGD not within five"
    )
    finals = [per_cent(one.metric) for one in early.values()]
    yield f"Final accuracies are {finals[0]}, {finals[1]} and {finals[2]}"
    factors = [one.width.high / one.width.low for one in (adam, sgd)]
    yield f"good learning rates span a factor of {factors[0]:.0f} for Adam and of {factors[1]:.0f}"
    assert pair(tuned, "adam", "momentum", "lr_width").better is None
    yield f"Between Adam and momentum ({momentum.width.decades.value:.2f} decades)"
    assert adam.width.low < 0.001 < adam.width.high
    yield (
        f"is a factor of {sgd.width.low / 0.001:.0f} below the start of its range, "
        f"{sgd.width.low:.2g}"
    )
    final = pair(tuned, "adam", "momentum", "metric")
    yield (
        f"a difference of less than {100 * final.detectable:.1f} points would often go unnoticed, "
        f"and the observed one is {-100 * final.difference.value:.2f}"
    )


def of_paper(records):
    logistic = records.study("paper-logistic")
    assert paper.ranked(logistic, 20) == ["adam", "nesterov", "rmsprop", "adagrad"]
    p = {(each.first, each.second): each.p for each in paper.pairs(logistic, 20)}
    assert p["adam", "nesterov"] < 0.05 < p["nesterov", "rmsprop"]
    first = {one.name: fmean(paper.costs(logistic, one.name, 1)) for one in logistic.contestants}
    assert max(first, key=first.get) == "nesterov"
    yield f"because its best learning rate is {contestant(logistic, 'nesterov').settings['lr']:.2g}"


QUOTED = {"claims.md": of_claims, "paper.md": of_paper}

SETTINGS = {
    "claims.md": {"95 %", "0.001", "0.01"},  # of intervals and targets; of tutorials
    "paper.md": {"0.001", "0.7", "0.25"},  # of the search; of the paper's figure
}
"""Figures that are no findings of ours."""


@pytest.mark.parametrize("page", QUOTED)
def test_sentences_say_what_the_records_say(page, records):
    text = " ".join(read(page).split())
    for phrase in QUOTED[page](records):
        assert phrase in text, phrase


NOT_PROSE = re.compile(r"^```.*?^```|`[^`]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"\d[\d,]*\.\d+(?: ?%)?|\d+ ?%")


@pytest.mark.parametrize("page", ["claims.md"])
def test_no_figure_is_without_a_record(page, records):
    """Of those with a point or a per cent sign: whole numbers count seeds, epochs and units."""
    text = " ".join(NOT_PROSE.sub("", BLOCK.sub("", read(page))).split())
    for phrase in QUOTED[page](records):
        text = text.replace(phrase, "")
    assert set(FIGURE.findall(text)) <= SETTINGS[page]


PAGES = {"claims": "claims.md", "claims-untuned": "claims.md"} | {
    name: "paper.md" for name in STUDIES if name.startswith("paper-")
}


@pytest.mark.parametrize("name", PAGES)
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
