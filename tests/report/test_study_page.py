import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from study_fixture import study

from adamantine.records import Difference, Interval, StudyRecord, Survival
from adamantine.report.study import data, study_html, study_rows

VOID = {"meta", "input", "br", "link", "img"}
PARTS = ["final", "score-time", "score-state", "loss", "validation", "rates", "times"]
NASTY = "</script><script>alert(1)</script><b>&\"'$x"


class Page(HTMLParser):
    """What a browser would read: that every element is closed, and what is in some of them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.scripts, self.words = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def charts(self):
        return json.loads(self.scripts[0])

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_is_well_formed_and_says_what_it_is():
    page = Page(study_html(study()))
    assert ("html", "lang", "en") in page.attributes
    assert "adam, sgd and momentum on digits" in page.text
    assert len(page.ids) == len(set(page.ids))
    for _, name, value in page.attributes:
        if name in ("aria-labelledby", "aria-describedby"):
            assert value in page.ids


def test_all_charts_are_there_and_have_a_place():
    page = Page(study_html(study()))
    assert sorted(chart["name"] for chart in page.charts) == sorted(PARTS)
    assert {f"{name}-chart" for name in PARTS} <= set(page.ids)


def test_nothing_is_loaded():
    text = study_html(study())
    page = Page(text)
    loading = {"src", "href", "srcset", "action", "data", "poster", "background"}
    assert [a for a in page.attributes if a[1] in loading] == []
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in page.scripts[-1]
    policy = {a[0]: a[2] for a in page.attributes if "default-src" in (a[2] or "")}
    assert policy["meta"].startswith("default-src 'none';")


def test_equal_records_give_equal_pages():
    assert study_html(study()) == study_html(study())
    assert study_html(study(seed=1)) != study_html(study())


@pytest.mark.parametrize("record", [study(4, hopeless=(2,)), study(2, 1, metric="error")])
def test_a_saved_study_gives_the_same_page_and_rows(record):
    saved = json.loads(json.dumps(record.to_json(), allow_nan=False))
    read = StudyRecord.from_json(saved)
    assert study_html(read) == study_html(record)
    assert study_rows(read) == study_rows(record)


def test_what_a_record_says_does_no_harm():
    record = study(names=(NASTY, "sgd", "momentum"), notes=(NASTY,))
    record = replace(record, command=NASTY, machine={NASTY: NASTY}, metric=f"accuracy {NASTY}")
    text = study_html(record)
    page = Page(text)
    assert len(page.scripts) == 3
    assert "<b>" not in text
    assert NASTY in page.text
    for chart in page.charts:
        assert "<script" not in json.dumps(chart)
        assert "<b>" not in json.dumps(chart)


def test_charts_follow_plotlys_schema():
    import plotly.graph_objects as go

    for record in (study(8, hopeless=(3,)), study(2, metric="error", direction="min")):
        for chart in Page(study_html(record)).charts:
            go.Figure(data=chart["data"], layout=chart["layout"])


def test_every_trace_belongs_to_a_contestant():
    for chart in Page(study_html(study(4))).charts:
        owners = {trace["meta"]["contestant"] for trace in chart["data"]}
        assert owners == {0, 1, 2, 3}, chart["name"]


def chart(record, name):
    (found,) = (chart for chart in Page(study_html(record)).charts if chart["name"] == name)
    return found


def test_the_final_chart_has_each_mean_interval_and_seed():
    record = study()
    for index, one in enumerate(record.contestants):
        seeds, mean = (
            t for t in chart(record, "final")["data"] if t["meta"]["contestant"] == index
        )
        runs = [run for run in record.runs if run.contestant == one.name]
        assert seeds["x"] == [r.test_metric for r in runs if r.test_metric is not None]
        assert mean["x"] == [one.metric.value]
        assert mean["error_x"]["array"] == [one.metric.high - one.metric.value]
        assert mean["error_x"]["arrayminus"] == [one.metric.value - one.metric.low]


def test_curves_are_the_mean_and_the_range_over_seeds_in_each_unit():
    record = study(2, seeds=3, diverged=())
    band, line = chart(record, "loss")["data"][:2]
    runs = [run for run in record.runs if run.contestant == "adam"]
    for place in (0, 7, -1):
        looks = [run.looks[place] for run in runs]
        losses = [look.train_loss for look in looks]
        assert line["y"][place] == pytest.approx(sum(losses) / 3)
        said = [f"{value:.4g}" for value in (line["y"][place], min(losses), max(losses))]
        assert line["customdata"][place] == said
        assert max(losses) in band["y"]
        assert min(losses) in band["y"]
        assert line["meta"]["x"]["steps"][place] == looks[0].step
        assert line["meta"]["x"]["epochs"][place] == looks[0].epoch
        seconds = sum(look.seconds for look in looks) / 3
        assert line["meta"]["x"]["seconds"][place] == pytest.approx(seconds)


def test_a_diverged_run_ends_with_a_mark_and_is_in_no_mean():
    record = study(2)
    traces = [t for t in chart(record, "loss")["data"] if t["meta"]["contestant"] == 1]
    (broken,) = (t for t in traces if isinstance(t.get("marker", {}).get("symbol"), list))
    assert broken["marker"]["symbol"][-1] == "x-thin"
    assert "diverged at step" in broken["hovertemplate"]
    others = [r for r in record.runs if r.contestant == "sgd" and r.diverged is None]
    (line,) = (t for t in traces if "customdata" in t)
    losses = [run.looks[0].train_loss for run in others]
    assert line["y"][0] == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("direction", ["max", "min"])
def test_in_each_unit_there_are_as_many_times_as_values(direction):
    """In epochs several runs reach the target at the same look, in seconds hardly ever."""
    record = study(3, direction=direction)
    lengths = set()
    for name in ("loss", "validation", "times"):
        for trace in chart(record, name)["data"]:
            for unit in data.UNITS:
                x, y = trace["meta"]["x"][unit], trace["meta"].get("y", {}).get(unit, trace["y"])
                assert len(x) == len(y)
                lengths.add((name, unit, len(x)))
    assert {n for name, unit, n in lengths if (name, unit) == ("times", "epochs")} != {
        n for name, unit, n in lengths if (name, unit) == ("times", "seconds")
    }


def test_an_exploding_run_does_not_flatten_the_others():
    record = study(2)
    wild = next(run for run in record.runs if run.diverged is not None)
    looks = tuple(replace(look, train_loss=1e30, validation_metric=-1e30) for look in wild.looks)
    runs = tuple(replace(r, looks=looks) if r is wild else r for r in record.runs)
    for name in ("loss", "validation"):
        values = [y for t in chart(replace(record, runs=runs), name)["data"] for y in t["y"]]
        assert max(map(abs, values)) < 10


def test_the_time_chart_is_a_staircase_from_zero_to_the_end_of_the_budget():
    record = study(2)
    line = chart(record, "times")["data"][1]
    found = record.contestants[0].epochs_to_target
    assert line["line"]["shape"] == "hv"
    assert line["x"] == [0.0, *found.times, 5.0]
    assert line["y"] == [0.0, *found.share, found.share[-1]]


def test_the_rates_chart_shows_trials_choice_width_and_divergence():
    record = study(1, diverged=())
    one, traces = record.contestants[0], chart(record, "rates")["data"]
    scored = [t for t in one.trials if t.score is not None]
    assert traces[1]["x"] == [t.lr for t in scored]
    assert traces[1]["y"] == [t.score for t in scored]
    assert traces[2]["x"] == [t.lr for t in one.trials if t.score is None]
    assert traces[2]["y"][0] < min(s for t in one.trials for s in t.scores if s is not None)
    assert traces[3]["x"] == [one.settings["lr"]]
    assert traces[4]["x"] == [one.width.low, one.width.high]


def test_trials_that_differ_by_more_than_the_rate_are_not_joined():
    record = study(1)
    one = record.contestants[0]
    trials = tuple(
        replace(t, settings={**t.settings, "eps": 10.0**-n}) for n, t in enumerate(one.trials)
    )
    assert chart(record, "rates")["data"][1]["mode"] == "lines+markers"
    record = replace(record, contestants=(replace(one, trials=trials),))
    assert chart(record, "rates")["data"][1]["mode"] == "markers"


def without_bounds(record):
    blank = Interval(math.nan, math.nan, math.nan)
    return replace(
        record,
        target=math.nan,
        contestants=tuple(
            replace(
                one,
                metric=one.metric and replace(one.metric, low=math.nan, high=math.nan),
                loss=blank,
                width=one.width and replace(one.width, decades=blank, low=math.nan),
                seconds_per_step=math.nan,
                epochs_to_target=one.epochs_to_target
                and replace(
                    one.epochs_to_target,
                    mean=blank,
                    share_low=(math.nan,) * len(one.epochs_to_target.times),
                ),
            )
            for one in record.contestants
        ),
    )


def never(record):
    nobody = Survival(0, 5, Interval(5.0, 5.0, 5.0), None, None, None, (), (), (), ())
    names = ("epochs_to_target", "steps_to_target", "seconds_to_target")
    contestants = (replace(c, **dict.fromkeys(names, nobody)) for c in record.contestants)
    return replace(record, contestants=tuple(contestants))


EDGES = {
    "one": study(1, differences=False),
    "eight": study(8),
    "one seed": study(3, seeds=1, diverged=()),
    "one seed, and it diverged": study(2, seeds=1, diverged=(0, 1)),
    "no final runs of one": study(3, hopeless=(1,)),
    "no final runs": study(2, hopeless=(0, 1), differences=False),
    "smaller is better": study(3, metric="error", direction="min"),
    "no differences": study(3, differences=False, claims=False, notes=()),
    "no bounds": without_bounds(study(3)),
    "never reached": never(study(2)),
    "judged by the loss": replace(study(2), plan={**study(2).plan, "tune_for": "loss"}),
    "a plan that says nothing": replace(study(2), plan={}, command="", versions={}, machine={}),
}


@pytest.mark.parametrize("record", EDGES.values(), ids=EDGES)
def test_whatever_the_record_there_is_a_page(record):
    page = Page(study_html(record))
    assert "nan" not in re.sub("loss nan", "", page.text)
    for chart in page.charts:
        assert chart["data"]
        assert f"{chart['name']}-chart" in page.ids
    assert len(study_rows(record)) == len(record.contestants)


def test_tables_have_captions_and_scopes():
    page = Page(study_html(study()))
    tags = [(tag, name, value) for tag, name, value in page.attributes]
    text = study_html(study())
    assert text.count("<table>") == text.count("<caption>") == 8
    assert text.count("<th ") == sum(tag[0] == "th" and tag[1] == "scope" for tag in tags)


def test_the_page_has_every_figure_of_the_verdict_and_the_method():
    record = study()
    text = Page(study_html(record)).text
    for said in (
        *(finding.sentence for finding in record.verdict),
        *(claim.evidence for claim in record.claims),
        *record.notes,
        record.command,
        "2.13.0",
        "Xeon",
        "93.00% (the best score of the contestant that is worst at it)",
        "diverged at step 147, loss nan",
        "lr=0.03 (the largest rate tried)",
    ):
        assert said in text


def test_rows_for_a_terminal():
    one = study(3, hopeless=(1,))
    first, hopeless, third = study_rows(one)
    assert list(first) == [
        "contestant", "settings", "test accuracy", "epochs to target", "time to target", "lr width",
        "time/step", "state",
    ]  # fmt: skip
    metric, mean = one.contestants[0].metric, one.contestants[0].epochs_to_target.mean
    assert first["settings"] == "lr=0.001"
    assert first["test accuracy"] == (
        f"{metric.value:.2%} [{100 * metric.low:.2f}, {100 * metric.high:.2f}]"
    )
    assert first["epochs to target"] == (
        f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}] (5 of 5)"
    )
    assert first["lr width"] == "2.00 [1.60, 2.30] decades"
    assert first["time/step"] == "1.1 ms"
    assert first["state"] == "19.3 kB (1×)"
    assert hopeless == {
        "contestant": "sgd", "settings": "all trials diverged", "test accuracy": "–",
        "epochs to target": "–", "time to target": "–", "lr width": "–",
        "time/step": "–", "state": "–",
    }  # fmt: skip
    assert third["contestant"] == "momentum"
    assert study_rows(study())[1]["lr width"] == "≥ 1.80 [1.40, 2.10] decades"
    assert study_rows(study())[1]["test accuracy"].endswith(", 1 diverged")
    assert study_rows(never(study()))[0]["epochs to target"] == "never (0 of 5)"


def test_a_pair_that_was_not_tested_says_why():
    pair = Difference("adam", "sgd", "metric", None, None, None, None, None, None, "one seed only")
    text = Page(study_html(replace(study(2), differences=(pair,)))).text
    assert "not tested: one seed only" in text


def test_nothing_heavy_is_imported_before_it_is_needed():
    script = (
        "import sys, adamantine.report, adamantine.report.study;"
        "print({'plotly', 'matplotlib', 'numpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_costs_are_multiples_of_the_best():
    record = study(3, diverged=())
    first, second, third = record.contestants

    def at(seconds, one, reached=None):
        found = one.seconds_to_target
        mean = Interval(seconds, 0.9 * seconds, 1.1 * seconds)
        return replace(found, mean=mean, reached=found.runs if reached is None else reached)

    record = replace(
        record,
        contestants=(
            replace(first, seconds_to_target=at(2.0, first), state_bytes=8_000),
            replace(second, seconds_to_target=at(3.0, second, 1), state_bytes=4_000),
            replace(third, seconds_to_target=at(9.0, third, 0), state_bytes=12_000),
        ),
    )
    rows = study_rows(record)
    assert [row["time to target"] for row in rows] == ["2 s (1×)", "≥ 3 s (≥ 1.5×)", "never"]
    assert [row["state"] for row in rows] == ["8 kB (2×)", "4 kB (1×)", "12 kB (3×)"]
    charts = {chart["name"]: chart for chart in Page(study_html(record)).charts}
    assert [t["x"] for t in charts["score-time"]["data"]] == [[2.0], [3.0]]
    assert len(charts["score-state"]["data"]) == 3
    free = replace(record, contestants=(replace(first, state_bytes=0), second))
    assert [row["state"] for row in study_rows(free)] == ["0 B", "19.3 kB"]
