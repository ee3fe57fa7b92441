"""Is what `adamantine tune` finds as good as random search, at half the steps? For docs/tune.md.

A row is a repeat: Adam from a poor space, learning rates from 1e-6 to 1, on MNIST. The peer is
random search as it is usually done: settings are drawn, each is trained to its end, and the one
that scored best is taken. The search is the command's own, with early stopping and rechecks. Both
settings are then judged on the same 10 fresh seeds. Steps are those of the trials, in percent of
random search's. The last column has the steps of all that the command does, with its usual five
seeds in the finals, in percent of the same without early stopping.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

import optuna

from adamantine.records import SearchTrial, TrialRun
from adamantine.study import TunePlan, tune
from adamantine.study.runs.conditions import build_context
from adamantine.study.runs.training import RunContext, train_once
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.statistics.intervals import mean_interval
from adamantine.study.tune.finals import Entry
from adamantine.study.tune.search import ranked, score_of
from adamantine.study.tune.suggest import Setting, Spaces
from adamantine.workloads.protocol import Workload
from benchmarks import markdown
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record
from benchmarks.studies import pool
from benchmarks.studies.samplers import POOR, TRIALS

REPEATS = 2
PLAN = TunePlan(("adam",), trials=TRIALS, space=POOR, seeds=10, seed=500_000_000)
"""The seed is far from those that anything was tried with before."""
QUICK = replace(PLAN, trials=3, epochs=1, seeds=2)
USUAL = TunePlan.seeds
"""Seeds of the command's finals, where nothing else is asked for."""
HEADS = ("search", "found", "random search", "difference", "steps", "all steps")


@dataclass(frozen=True)
class Row:
    """A repeat: two settings on the same seeds, and what the first one cost of the second."""

    found: list[float]
    plain: list[float]
    defaults: list[float]
    recommended: bool
    steps: float
    all_steps: float

    def cells(self) -> tuple[str, ...]:
        """As printed."""
        difference = mean_interval(
            [100 * (a - b) for a, b in zip(self.found, self.plain, strict=True)]
        )
        return (
            f"{fmean(self.found):.2%}",
            f"{fmean(self.plain):.2%}",
            f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})",
            *(f"{share:.0%}" for share in (self.steps, self.all_steps)),
        )


def run(options: Options) -> Record:
    """All repeats, several at a time."""
    name, data_dir = "digits", None
    if not options.quick:
        name, data_dir = "mnist", str(needs_mnist(options.data_dir).root)
    plan = QUICK if options.quick else PLAN
    with pool.pool(options) as processes:
        running = [
            processes.submit(_repeat, name, data_dir, plan, number, options.journals)
            for number in range(options.rounds_or(REPEATS, 1))
        ]
        rows = [asdict(row.result()) for row in running]
    return {"workload": name, "trials": plan.trials, "seeds": plan.seeds, "rows": rows}


def _repeat(
    name: str, data_dir: str | None, plan: TunePlan, number: int, journals: Path | None
) -> Row:
    plan = replace(plan, seed=plan.seed + 10_000 * number)
    out = None if journals is None else journals / "searches" / str(number + 1)
    row = repeat(pool.workload(name, data_dir), plan, out)
    print(f"searches: {number + 1}, {', '.join(row.cells())}", file=sys.stderr)
    return row


def random_search(context: RunContext, plan: TunePlan, spaces: Spaces) -> list[SearchTrial]:
    """Its trials, each trained to its end."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=plan.seed))
    trials = []
    for number in range(plan.trials):
        setting = spaces.suggest(study.ask())
        (run,) = train(context, spaces, setting, "tune", [plan.seed_of_trial(number)])
        trials.append(SearchTrial(number, {}, score_of(run), run))
    return trials


def train(
    context: RunContext,
    spaces: Spaces,
    setting: Setting | TrialRun,
    purpose: Literal["tune", "final"],
    seeds: Sequence[int],
) -> list[TrialRun]:
    """Runs of a setting, or of another run's setting."""
    own = spaces.contestants[setting.contestant]
    tasks = Entry("found", own, setting.settings, setting.training).tasks(purpose, seeds)
    return [train_once(context, task) for task in tasks]


def repeat(workload: Workload, plan: TunePlan, out: Path | None) -> Row:
    """A row of the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    context = build_context(workload, plan, None)
    spaces = Spaces(parse_contestants(plan.contestants), plan.space)
    trials = random_search(context, plan, spaces)
    best = ranked(trials, workload.metric.direction)[0].run
    judged = train(context, spaces, best, "final", plan.seeds_of_finals)
    found = tune(workload, plan, out=out)
    finals = [run for run in found.runs if run.purpose == "final"]
    own = [run for run in finals if run.settings]
    defaults = [run for run in finals if not run.settings]
    after = [run for run in found.runs if run.purpose == "tune"]
    after += [run for run in finals if run.seed in plan.seeds_of_finals[:USUAL]]
    ours, theirs = ([trial.run for trial in each] for each in (found.trials, trials))
    steps, all_to_the_end, more = (_steps(runs) for runs in (ours, theirs, after))
    return Row(
        _metrics(own),
        _metrics(judged),
        _metrics(defaults),
        found.recommended == "tuned",
        steps / all_to_the_end,
        (steps + more) / (all_to_the_end + more),
    )


def _steps(runs: Sequence[TrialRun]) -> int:
    return sum(run.steps for run in runs)


def _metrics(runs: Sequence[TrialRun]) -> list[float]:
    return [run.test_metric for run in runs if run.test_metric is not None]


def to_markdown(found: Record) -> str:
    """A row for each repeat, and their means."""
    rows = [Row(**row) for row in found["rows"]]
    return markdown.table(HEADS, [*_numbered(rows), _means(rows)])


def _numbered(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [(str(number), *row.cells()) for number, row in enumerate(rows, 1)]


def _means(rows: Sequence[Row]) -> tuple[str, ...]:
    found, plain = (
        fmean(fmean(row.found) for row in rows),
        fmean(fmean(row.plain) for row in rows),
    )
    return (
        "mean",
        f"{found:.2%}",
        f"{plain:.2%}",
        f"{100 * (found - plain):+.2f}",
        f"{fmean(row.steps for row in rows):.0%}",
        f"{fmean(row.all_steps for row in rows):.0%}",
    )
