"""The tables of a search's page."""

from __future__ import annotations

from adamantine.records import Candidate, TrialRun, TuneRecord
from adamantine.report import formatting
from adamantine.report.frame import Table


def candidates(record: TuneRecord) -> Table:
    """The settings that were trained again, and what they came to."""
    write = formatting.metric_format(record.metric)
    metrics = {"found": record.tuned_metric, "defaults": record.defaults_metric}
    rows = [
        (
            f"{each.role}, in the finals" if record.is_finalist(each) else each.role,
            _settings(each),
            formatting.number(each.score, write),
            formatting.number(each.recheck, write),
            formatting.interval(metrics[each.role] if record.is_finalist(each) else None, write),
        )
        for each in record.candidates
    ]
    heads = ("", "settings", "in the search", "rechecks", "test, finals")
    caption = f"What was trained again, and what it came to: {record.metric}"
    return Table(caption, heads, rows, words=frozenset({1}))


def _settings(each: Candidate | TrialRun) -> str:
    return f"{each.contestant} {formatting.settings({**each.settings, **each.training})}"


def trials(record: TuneRecord) -> Table:
    """Every trial of the search."""
    write = formatting.metric_format(record.metric)
    rows = [
        (
            str(trial.number),
            _settings(trial.run),
            trial.outcome,
            f"{trial.run.looks[-1].epoch:.3g}" if trial.run.looks else formatting.NONE,
            formatting.number(
                trial.run.looks[-1].validation_metric if trial.run.looks else None, write
            ),
        )
        for trial in record.trials
    ]
    heads = ("trial", "settings", "outcome", "epochs", record.metric)
    return Table("Trials, in their order", heads, rows, words=frozenset({1, 2}))


def runs(record: TuneRecord) -> Table:
    """Every run after the search."""
    write = formatting.metric_format(record.metric)
    rows = [
        (
            run.contestant,
            formatting.settings({**run.settings, **run.training}),
            "final" if run.purpose == "final" else "recheck",
            str(run.seed),
            formatting.number(run.looks[-1].validation_metric if run.looks else None, write),
            formatting.number(run.test_metric, write),
        )
        for run in record.runs
    ]
    heads = ("optimizer", "settings", "purpose", "seed", "validation", "test")
    return Table("Runs after the search", heads, rows, words=frozenset({1, 2}))
