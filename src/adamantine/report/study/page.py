"""A study's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamantine.records import StudyRecord
from adamantine.report import formatting
from adamantine.report.frame import (
    Chart,
    chart_html,
    controls_html,
    decision_html,
    findings_html,
    folded_html,
    header_html,
    page_html,
    section_html,
    table_html,
    terms_html,
    text,
)
from adamantine.report.study import captions, data, tables
from adamantine.report.study.charts import study_charts

NAMED = 4
"""At most so many contestants are named in the title."""
SHORT = 12
"""Letters of a name that stand beside one of two charts in a row without making it small."""


def study_html(record: StudyRecord) -> str:
    """One page with the whole study, which opens offline in any browser; equal for equal records.

    It has the verdict, interactive charts, tables of every figure, and how they were measured. It
    prints, follows dark mode, and fits a phone.
    """
    charts = {chart.name: chart for chart in study_charts(record)}
    title = study_title(record)
    has_log = any(chart.layout.get("meta", {}).get("log") for chart in charts.values())
    names = [contestant.name for contestant in record.contestants]
    short = max(map(len, names), default=0) <= SHORT
    folded = [
        *(
            folded_html(title, table_html(table))
            for title, table in tables.differences(record).items()
        ),
        folded_html("Every final run", table_html(tables.final_runs(record))),
        folded_html("Every tuning trial", table_html(tables.trials(record))),
    ]

    def section(name: str, heading: str, *wanted: str) -> str:
        return _section(name, heading, charts, *wanted, short=short)

    parts = [
        header_html(title, _subtitle(record)),
        decision_html(record.verdict[:1], [record.decision.python]),
        controls_html(names, data.UNITS, has_log) if charts else "",
        section("result", "How good", "final", "validation"),
        _evidence(record),
        section("training", "How fast", "loss", "times"),
        section("cost", "What it costs", "score-time", "score-state"),
        section("tuning", "How sensitive to the learning rate", "rates"),
        section_html(
            "numbers",
            "All numbers",
            table_html(tables.results(record)),
            table_html(tables.costs(record)),
            *folded,
        ),
        how_measured_html(record),
    ]
    return page_html(title, "\n".join(part for part in parts if part), charts.values())


def study_title(record: StudyRecord) -> str:
    """``adam, sgd and momentum on digits``."""
    names = [contestant.name for contestant in record.contestants]
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} others"]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    workload = record.plan.get("workload")
    return f"{listed} on {workload}" if workload else listed


def how_measured_html(record: StudyRecord) -> str:
    """All that is needed to judge the numbers and to measure them again."""
    parts = []
    if record.command:
        parts.append(f"<h3>To repeat it</h3>\n<pre><code>{text(record.command)}</code></pre>")
    kept = {"target", "contestants"}
    plan = {_term(key): _said(value) for key, value in record.plan.items() if key not in kept}
    specs = ", ".join(dict.fromkeys(contestant.spec for contestant in record.contestants))
    plan = {"contestants": specs, **plan, "target": captions.target(record)}
    named = {
        "Plan": plan,
        "Machine": _terms(record.machine),
        "Versions": _terms(record.versions),
        "Run": {
            "started": record.started,
            "took": formatting.number(record.wall_seconds or None, formatting.duration),
        },
    }
    for heading, terms in named.items():
        if any(terms.values()):
            parts.append(f"<h3>{heading}</h3>\n{terms_html(terms)}")
    if record.notes:
        items = "\n".join(f"<li>{text(note)}</li>" for note in record.notes)
        parts.append(f"<h3>Notes</h3>\n<ul>\n{items}\n</ul>")
    return section_html("method", "How it was measured", *parts)


def _evidence(record: StudyRecord) -> str:
    parts = [section_html("evidence", "Why", findings_html(record.verdict[1:]))]
    if record.claims:
        parts.append(section_html("claims", "Claims", table_html(tables.claims(record))))
    return "\n".join(parts)


def _section(
    name: str, heading: str, charts: Mapping[str, Chart], *wanted: str, short: bool
) -> str:
    """A section with those of the wanted charts that there are; nothing if there are none.

    Side by side, on a screen only where the names beside them are `short`.
    """
    found = [chart_html(charts[one]) for one in wanted if one in charts]
    if not found:
        return ""
    kind = "" if len(found) == 1 else "pair" if short else "pair long"
    inner = "\n".join(found)
    return section_html(name, heading, f'<div class="{kind}">{inner}</div>' if kind else inner)


def _subtitle(record: StudyRecord) -> str:
    plan = record.plan
    counted = {"seeds": "{} seeds", "epochs": "{} epochs", "budget": "{} tuning trials each"}
    parts = [how.format(plan[key]) for key, how in counted.items() if plan.get(key) is not None]
    return " · ".join([*parts, *filter(None, [record.started[:10]])])


def _terms(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        _term(key): formatting.plain(value) for key, value in values.items() if value is not None
    }


def _term(key: str) -> str:
    return key.replace("_", " ")


def _said(value: Any) -> str:
    return formatting.plain(value) if value not in (None, {}, [], "") else ""
