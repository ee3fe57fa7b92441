"""A study in a notebook."""

import re
from html.parser import HTMLParser

import cheap
import pytest

from adamantine.study import Plan, compare


@pytest.fixture(scope="module")
def study():
    return compare(cheap.workload, Plan(("adam", "sgd"), seeds=2, budget=2, tuning_seeds=1))


def test_it_shows_itself(study):
    shown = study._repr_html_()
    words = re.sub("<[^>]*>", " ", shown)
    for contestant in study.contestants:
        assert contestant.name in words
    decision, *others = (finding.sentence for finding in study.verdict)
    assert str(study).splitlines() == [decision, study.decision.python, *others]
    opened = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: opened.append(tag)
    parser.handle_endtag = lambda tag: opened.remove(tag)
    parser.feed(shown)
    assert opened == []


def test_its_runs_and_looks_are_data_frames(study):
    pytest.importorskip("pandas")
    runs, looks = study.runs_frame(), study.looks_frame()
    assert len(runs) == len(study.runs) == 2 * (2 + 2)
    assert runs["settings.lr"].notna().all()
    assert runs["test_metric"].notna().sum() == 4
    assert len(looks) == sum(len(run.looks) for run in study.runs)
    last = looks.groupby(["contestant", "purpose", "seed"]).epoch.max()
    assert (last == 5).all()
    best = looks[looks.purpose == "final"].groupby("contestant").validation_metric.max()
    for contestant in study.contestants:
        runs_of = [r for r in study.runs if (r.contestant, r.purpose) == (contestant.name, "final")]
        top = max(look.validation_metric for run in runs_of for look in run.looks)
        assert best[contestant.name] == top
