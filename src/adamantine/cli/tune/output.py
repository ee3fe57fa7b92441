"""What a person sees of a search: how far it is, the running trials' curves, then the verdict."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamantine.cli.interrupt import Interrupt
from adamantine.cli.output.live import LiveBar
from adamantine.cli.output.runs import of_run
from adamantine.cli.output.terminal import note
from adamantine.records import SearchTrial, TuneRecord
from adamantine.report import format_metric
from adamantine.study import TuneListener
from adamantine.study.settings.literals import typed
from adamantine.workloads import ACCURACY, Metric

if TYPE_CHECKING:
    from adamantine.study.tune.search import RunningTrial, SearchProgress

BARS = "▁▂▃▄▅▆▇█"
SHOWN = 5
"""Trials in the table of results."""


class TuneOutput(TuneListener):
    """Remembers what to say when it is interrupted."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.interrupt = Interrupt()
        self.total = self.done = 0
        self._failed: set[int] = set()

    def on_search(self, progress: SearchProgress, metric: Metric) -> None:  # noqa: ARG002
        """Count the trials; say how many were there before, and which failed."""
        begins = not self.total
        for trial in progress.done:
            if trial.run.failed and trial.number not in self._failed:
                self._failed.add(trial.number)
                note(f"Left out: trial {trial.number}, {of_run(trial.run)}: {trial.run.failed}")
        self.total, self.done = progress.total, len(progress.done)
        if begins and self.done:
            note(f"{self.done} of {self.total} trials are done already and are kept")

    def check(self) -> None:
        """Stop here if there was a Ctrl-C."""
        self.interrupt.check()

    def close(self) -> None:
        """Leave the terminal as it was."""

    def how_to_go_on(self) -> str:
        """For the last line of an interrupted search."""
        if not self.total:
            return "interrupted before the first trial"
        return (
            f"interrupted; {self.done} of {self.total} trials are done and kept, those that were "
            "running are queued again. Go on with the same command"
        )


class TerminalTuneOutput(TuneOutput):
    """Also draws a bar, the best trial and those that are running on standard error."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._bar = LiveBar()
        self._progress: SearchProgress | None = None
        self._metric = ACCURACY

    def on_search(self, progress: SearchProgress, metric: Metric) -> None:
        """Move the bar."""
        super().on_search(progress, metric)
        self._progress, self._metric = progress, metric
        self._bar.move("Trials", progress.total, len(progress.done))

    def on_finals(self, total: int, done: int) -> None:
        """A bar of its own for the runs after the search."""
        self._progress = None
        self._bar.move("Last runs", total, done)

    def check(self) -> None:
        """Draw, ten times a second at most."""
        super().check()
        if self._bar.is_due:
            self._bar.draw(progress_rows(self._progress, self._metric) if self._progress else ())

    def close(self) -> None:
        """Take it away, if it is there."""
        self._bar.close()


def tune_output(out: Path) -> TuneOutput:
    """With a bar where standard error is a terminal."""
    return (TerminalTuneOutput if sys.stderr.isatty() else TuneOutput)(out)


def progress_rows(progress: SearchProgress, metric: Metric) -> list[tuple[str, str, str]]:
    """What stands below the bar: outcomes, the best trial, and the running ones with a curve."""
    rows = []
    outcomes = Counter(trial.outcome for trial in progress.done)
    if progress.done:
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        rows.append(("", said, ""))
    if best := best_of(progress.done, metric):
        assert best.score is not None
        score = format_metric(metric.name, best.score)
        rows.append(("best", f"{metric.name} {score}", _of_trial(best)))
    # All curves are drawn on one scale, or they could not be compared.
    drawn = [value for each in progress.running for value in each.looks]
    for each in progress.running:
        curve = sparkline(each.looks, drawn)
        last = format_metric(metric.name, each.looks[-1]) if each.looks else ""
        rows.append((f"#{each.number}", f"{curve} {last}".strip(), _of_running(each)))
    return rows


def sparkline(values: Sequence[float], scale: Sequence[float]) -> str:
    """A bar a value, its height between the smallest and the largest number in `scale`."""
    finite = [value for value in scale if math.isfinite(value)]
    if not finite:
        return "·" * len(values)
    low, high = min(finite), max(finite)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return "·"
        share = (value - low) / (high - low) if high > low else 1.0
        return BARS[min(int(share * len(BARS)), len(BARS) - 1)]

    return "".join(bar(value) for value in values)


def best_of(trials: Sequence[SearchTrial], metric: Metric) -> SearchTrial | None:
    """The trial with the best score, if any has one."""
    sign = 1 if metric.direction == "max" else -1
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: sign * (trial.score or 0.0), default=None)


def print_tune(found: TuneRecord, *, as_json: bool) -> None:
    """Print what to use, the settings and why, or everything as JSON, on standard output."""
    if as_json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()

    def say(*lines: str) -> None:
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    first, *evidence = found.verdict
    say(*filter(None, (first.sentence, found.best.python, found.best.command)), "")
    table = Table("", "search", "rechecks", "settings", box=None, pad_edge=False)
    for each in found.candidates:
        table.add_row(
            f"{each.role}, in the finals" if found.is_finalist(each) else each.role,
            *(
                "" if s is None else format_metric(found.metric, s)
                for s in (each.score, each.recheck)
            ),
            f"{each.contestant} {_listed({**each.settings, **each.training})}".strip(),
        )
    console.print(table)
    if evidence:
        say("", *(finding.sentence for finding in evidence))


def _of_trial(trial: SearchTrial) -> str:
    return f"{trial.run.contestant} {_listed({**trial.run.settings, **trial.run.training})}"


def _of_running(trial: RunningTrial) -> str:
    setting = trial.setting
    return f"{setting.contestant} {_listed({**setting.settings, **setting.training})}"


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in settings.items())


def _plain(value: Any) -> str:
    """As it is typed; JSON made a list of a tuple."""
    return typed(tuple(value) if isinstance(value, list) else value)
