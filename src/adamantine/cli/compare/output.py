"""What a person sees of a study: runs as they are done, then a table and the verdict."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from adamantine.cli.interrupt import Interrupt
from adamantine.cli.output.live import LiveBar
from adamantine.cli.output.runs import listed, of_run
from adamantine.cli.output.terminal import note
from adamantine.records import StudyRecord, TrialRun
from adamantine.report import format_metric, study_rows
from adamantine.study import Listener
from adamantine.workloads import ACCURACY, Metric

PLURAL = {True: "", False: "s"}


class StudyOutput(Listener):
    """Says what is reused, and remembers what to say when it is interrupted."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.interrupt = Interrupt()
        self.total = self.done = 0

    def on_plan(
        self,
        total: int,
        reused: Sequence[TrialRun],
        others: Sequence[str],
        metric: Metric,  # noqa: ARG002 - for what is drawn on a terminal
    ) -> None:
        """Say what is there already."""
        self.total, self.done = total, len(reused)
        if reused:
            note(f"{len(reused)} of {total} runs are in {self.out} already and are reused")
        for changed in others if len(reused) < total else ():  # else nothing was missing
            note(f"Runs in {self.out} that cannot be reused: {changed}")

    def on_reused(self, runs: Sequence[TrialRun]) -> None:
        """Count them."""
        self.done += len(runs)

    def on_run(self, run: TrialRun) -> None:
        """Count it; say of one that failed that it did."""
        self.done += 1
        if run.failed:
            note(f"Left out: the run of {of_run(run)} failed: {run.failed}")

    def check(self) -> None:
        """Stop here if there was a Ctrl-C."""
        self.interrupt.check()

    def close(self) -> None:
        """Leave the terminal as it was."""

    def how_to_go_on(self) -> str:
        """For the last line of an interrupted study."""
        if not self.total:
            return "interrupted before the first run"
        return (
            f"interrupted; {self.done} of {self.total} runs are saved in {self.out}. "
            "Go on with the same command"
        )


class TerminalStudyOutput(StudyOutput):
    """Also draws a bar and a line for each contestant on standard error."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._bar = LiveBar()
        self._metric = ACCURACY
        self._counts: Counter[str] = Counter()
        self._best: dict[str, TrialRun] = {}

    def on_plan(
        self, total: int, reused: Sequence[TrialRun], others: Sequence[str], metric: Metric
    ) -> None:
        """Start the bar."""
        super().on_plan(total, reused, others, metric)
        self._metric = metric
        self._note(reused)
        self._move()
        self._bar.draw(self._rows())

    def on_reused(self, runs: Sequence[TrialRun]) -> None:
        """Move the bar."""
        super().on_reused(runs)
        self._note(runs)
        self._move()

    def on_run(self, run: TrialRun) -> None:
        """Move the bar."""
        super().on_run(run)
        self._note([run])
        self._move()

    def check(self) -> None:
        """Draw, ten times a second at most."""
        super().check()
        if self._bar.is_due:
            self._bar.draw(self._rows())

    def close(self) -> None:
        """Take it away, if it is there."""
        self._bar.close()

    def _move(self) -> None:
        self._bar.move("Runs", self.total, self.done)

    def _note(self, runs: Sequence[TrialRun]) -> None:
        for run in runs:
            self._counts[run.contestant] += 1
            best = self._best.get(run.contestant)
            if run.diverged is None and (best is None or self._better(run, best)):
                self._best[run.contestant] = run

    def _better(self, run: TrialRun, best: TrialRun) -> bool:
        gain = _score(run) - _score(best)
        return gain > 0 if self._metric.direction == "max" else gain < 0

    def _rows(self) -> Iterator[tuple[str, ...]]:
        metric = self._metric
        for name, run in sorted(self._best.items()):
            yield (
                name,
                f"{self._counts[name]} run{PLURAL[self._counts[name] == 1]}",
                f"best validation {metric.name} {format_metric(metric.name, _score(run))}",
                listed(run.settings),
            )


def study_output(out: Path) -> StudyOutput:
    """With a bar where standard error is a terminal."""
    return (TerminalStudyOutput if sys.stderr.isatty() else StudyOutput)(out)


def print_study(study: StudyRecord, *, as_json: bool) -> None:
    """Print what to use, the table and why, or everything as JSON, on standard output."""
    if as_json:
        print(json.dumps(study.to_json(), allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text  # a name may look like Rich's markup

    full = study_rows(study)
    console = Console()
    first, *evidence = study.verdict
    for line in filter(None, (first.sentence, study.decision.python)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()
    # The settings stand below: a line of eighty columns has no room for them.
    left_out = ("settings", "time/step")
    rows = [{name: cell for name, cell in row.items() if name not in left_out} for row in full]
    heads = [Column(name, overflow="fold") for name in rows[0]]
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row.values()))
    chosen = Table("contestant", "chosen settings", box=None, pad_edge=False)
    for row in full:
        chosen.add_row(Text(row["contestant"]), Text(row["settings"]))
    console.print(table, "", chosen, "", sep="\n")
    for finding in evidence:
        console.print(finding.sentence, markup=False, highlight=False, soft_wrap=True)


def _score(run: TrialRun) -> float:
    return run.looks[-1].validation_metric
