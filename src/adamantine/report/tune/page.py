"""A search's page."""

from __future__ import annotations

from collections.abc import Mapping

from adamantine.records import TuneRecord
from adamantine.report import formatting
from adamantine.report.frame import (
    Chart,
    chart_html,
    decision_html,
    findings_html,
    folded_html,
    header_html,
    named_terms_html,
    page_html,
    section_html,
    table_html,
    text,
)
from adamantine.report.tune import tables
from adamantine.report.tune.charts import tune_charts


def tune_html(record: TuneRecord) -> str:
    """One page that holds all of a search and opens offline; equal for equal records."""
    charts = {chart.name: chart for chart in tune_charts(record)}
    title = tune_title(record)
    parts = [
        header_html(title, _subtitle(record)),
        decision_html(record.verdict[:1], [record.best.python, record.best.command]),
        _evidence(record),
        _section("search", "How the search went", charts, "history", "curves"),
        _section(
            "settings", "What mattered", charts, "importance", "slice-1", "slice-2", "contour"
        ),
        section_html(
            "numbers",
            "All numbers",
            table_html(tables.candidates(record)),
            folded_html("Every trial", table_html(tables.trials(record))),
            folded_html("Every run after the search", table_html(tables.runs(record))),
        ),
        _method(record),
    ]
    return page_html(title, "\n".join(part for part in parts if part), charts.values())


def tune_title(record: TuneRecord) -> str:
    """What was searched, in a line."""
    names = ", ".join(record.plan.get("contestants", []))
    return f"Settings of {names} for {record.plan.get('workload')}"


def _subtitle(record: TuneRecord) -> str:
    parts = [
        f"{len(record.trials)} trials",
        f"{record.plan.get('epochs')} epochs",
        f"{len(record.plan.get('seeds', []))} final seeds",
        record.started[:10],
    ]
    return " · ".join(filter(None, parts))


def _evidence(record: TuneRecord) -> str:
    return (
        section_html("evidence", "Why", findings_html(rest)) if (rest := record.verdict[1:]) else ""
    )


def _section(name: str, heading: str, charts: Mapping[str, Chart], *wanted: str) -> str:
    found = "\n".join(chart_html(charts[one]) for one in wanted if one in charts)
    return section_html(name, heading, found) if found else ""


def _method(record: TuneRecord) -> str:
    parts = []
    if record.command:
        parts.append(f"<h3>To repeat it</h3>\n<pre><code>{text(record.command)}</code></pre>")
    named = {
        "Plan": record.plan,
        "Machine": record.machine,
        "Versions": record.versions,
        "Run": {"started": record.started, "took": formatting.duration(record.wall_seconds)},
    }
    parts += named_terms_html(named)
    return section_html("method", "How it was measured", *parts)
