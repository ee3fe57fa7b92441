"""The page of a search."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from test_curves import count, pixels

from adamantine.records import (
    Best,
    Candidate,
    Divergence,
    Finding,
    Interval,
    Look,
    SearchTrial,
    TrialRun,
    TuneRecord,
)
from adamantine.report import tune_html, tune_pngs
from adamantine.report.panels import COLOURS
from adamantine.report.tune.charts import tune_charts

HARMFUL = "</script><img src=x onerror=alert(1)>"
CHARTS = ["history", "curves", "importance", "slice-1", "slice-2", "contour"]


def trial(number, outcome="finished"):
    lr, decay = 10 ** (-1 - number % 5), 10 ** (-2 - number % 4)
    score = 0.9 - 0.05 * (number % 5)
    epochs = 1 if outcome == "pruned" else 2
    looks = tuple(
        Look(n, float(n), 0.1 * n, 1.0, 1.0, score - 0.1 * (2 - n)) for n in range(1, epochs + 1)
    )
    run = TrialRun(
        "adam",
        "tune",
        {"lr": lr, "weight_decay": decay, "betas": [0.9, 0.99]},
        1_000_000 + number,
        looks,
        2,
        0.2,
        4,
        32,
        pruned=outcome == "pruned",
        diverged=Divergence(1, float("nan")) if outcome == "diverged" else None,
    )
    drawn = {"lr": lr, "weight_decay": decay}
    return SearchTrial(number, drawn, score if outcome == "finished" else None, run)


def record(name="adam", **changes):
    tuned = Candidate("found", name, {"lr": 0.1}, {}, 0.9, (0.88, 0.9), 0.89)
    defaults = Candidate("defaults", name, {}, {}, None, (0.8, 0.82), 0.81)
    final = TrialRun(name, "final", {"lr": 0.1}, 1000, (), 2, 0.1, 4, 32, 0.3, 0.88)
    found = TuneRecord(
        plan={"workload": "digits", "contestants": [name], "epochs": 2, "seeds": [1000, 1001]},
        metric="accuracy",
        direction="max",
        trials=tuple(trial(n, "pruned" if n % 3 else "finished") for n in range(12)),
        candidates=(tuned, defaults),
        tuned=tuned,
        defaults=defaults,
        tuned_metric=Interval(0.88, 0.87, 0.89),
        defaults_metric=Interval(0.8, 0.79, 0.81),
        difference=None,
        recommended="tuned",
        best=Best("digits", "adam", {"lr": 0.1}, 2, 64, "none", f"adamantine.Adam({name})", ""),
        verdict=(Finding("final", f"tuned {name} lr 0.1: use it."),),
        runs=(final,),
        versions={"torch": "2"},
        machine={"cores": 2},
        importances={"lr": 0.7, "weight_decay": 0.3},
    )
    return replace(found, **changes)


def test_a_record_survives_json():
    found = record()
    again = TuneRecord.from_json(json.loads(json.dumps(found.to_json())))
    assert tune_html(again) == tune_html(found)


def test_every_chart_is_there_and_holds_the_trials():
    charts = {chart.name: chart for chart in tune_charts(record())}
    assert list(charts) == CHARTS
    shown = [x for trace in charts["history"].data[:2] for x in trace["x"]]
    assert sorted(shown) == list(range(12))
    best = charts["history"].data[2]["y"]
    assert best == sorted(best)
    assert len(charts["curves"].data) == 12
    assert charts["slice-1"].layout["xaxis"]["type"] == "log"
    surface = charts["contour"].data[0]
    scores = [t.run.looks[-1].validation_metric for t in record().trials]
    heights = [height for row in surface["z"] for height in row]
    assert min(scores) - 1e-6 <= min(heights) <= max(heights) <= max(scores) + 1e-6


def test_the_map_compares_trials_where_all_have_come():
    """At their ends it would show which were stopped."""
    found = record()
    pruning = replace(found, plan={**found.plan, "pruning": True, "floor": 1})
    charts = {chart.name: chart for chart in tune_charts(pruning)}
    first = [t.run.looks[0].validation_metric for t in found.trials]
    heights = [height for row in charts["contour"].data[0]["z"] for height in row]
    assert min(first) - 1e-6 <= min(heights) <= max(heights) <= max(first) + 1e-6
    assert "after epoch 1" in charts["contour"].caption
    unlucky = replace(found.trials[0], run=replace(found.trials[0].run, looks=()))
    fewer = tune_charts(replace(pruning, trials=(unlucky, *found.trials[1:])))[-1]
    assert len(fewer.data[1]["x"]) == len(found.trials) - 1


def test_the_page_says_what_was_found():
    page = tune_html(record())
    for said in ("use it.", "adamantine.Adam(adam)", "88.00% [87.00, 89.00]", "12 trials"):
        assert said in page


@pytest.mark.parametrize(
    "changes",
    [
        {"importances": {}},
        {"trials": ()},
        {"trials": tuple(trial(n, "diverged") for n in range(3)), "importances": {}},
        {"trials": tuple(trial(0, "finished") for _ in range(6))},
        {"tuned": None, "tuned_metric": None, "recommended": "defaults"},
    ],
)
def test_a_search_that_found_little_has_a_page(changes):
    page = tune_html(record(**changes))
    assert "What to use" in page
    ids = re.findall(r'<figure id="([\w-]+)"', page)
    assert len(ids) == len(tune_charts(record(**changes)))


def test_names_are_escaped():
    page = tune_html(record(HARMFUL))
    assert HARMFUL not in page


def test_a_browser_draws_it_without_a_complaint(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(tune_html(record(HARMFUL)), encoding="utf-8")
    said = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    drawn = page.eval_on_selector_all(".chart", "all => all.map(one => one.id)")
    assert drawn == [f"{name}-chart" for name in CHARTS]
    assert page.locator(".chart .main-svg").count() >= len(CHARTS)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert said == []


def test_the_pictures_show_both_kinds_of_trials_and_are_the_same_again():
    found = tune_pngs(record())
    assert sorted(found) == ["search.png", "settings.png"]
    for name, png in found.items():
        assert pixels(png)[0] == 2100
        assert count(png, COLOURS[0]) > 300, name
    assert tune_pngs(record()) == found


def drawing(name, *values):
    """The record's trials with one more setting, which is the only one that matters."""
    trials = tuple(
        replace(one, drawn={**one.drawn, name: values[n % len(values)]})
        for n, one in enumerate(record().trials)
    )
    return record(trials=trials, importances={name: 1.0})


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (record(importances={}), ["search.png"]),
        (record(trials=()), []),
        (record(trials=(trial(0, "diverged"),)), []),
        (record(trials=tuple(trial(5 * n) for n in range(6))), ["search.png", "settings.png"]),
        (drawing("$schedule", "none", "cosine"), ["search.png", "settings.png"]),
        (drawing("nesterov", True, False), ["search.png", "settings.png"]),
    ],
    ids=["nothing mattered", "no trials", "all diverged", "no surface", "words", "switches"],
)
def test_whatever_was_searched_there_are_pictures_of_what_there_is(found, names):
    assert sorted(tune_pngs(found)) == names
