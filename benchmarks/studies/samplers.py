"""Which of Optuna's samplers finds the better settings? For docs/tune.md.

Each sampler searches Adam's own space, but for learning rates from 1e-6 to 1, with and without
early stopping, on digits. How good its setting is is measured on seeds that no search has seen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from statistics import fmean

from adamantine.study import TunePlan, tune
from adamantine.study.tune.plan import SAMPLERS
from benchmarks import markdown
from benchmarks.records import Options, Record
from benchmarks.studies.pool import pool, workload

TRIALS, TRIALS_QUICK = 40, 3
REPEATS = 5
POOR = ("lr=1e-6:1:log",)


def run(options: Options) -> Record:
    """All searches, several at a time."""
    repeats = options.rounds_or(REPEATS, 2)
    trials = TRIALS_QUICK if options.quick else TRIALS
    samplers = SAMPLERS[-1:] if options.quick else SAMPLERS
    with pool(options) as processes:
        running = [
            processes.submit(search, sampler, pruning, repeat, trials)
            for repeat, sampler, pruning in product(range(repeats), samplers, (False, True))
        ]
        return {"workload": "digits", "trials": trials, "rows": [row.result() for row in running]}


def search(sampler: str, pruning: bool, repeat: int, trials: int) -> Record:
    """One search, and what its setting and the defaults are worth on fresh seeds."""
    plan = TunePlan(
        ("adam",), trials=trials, space=POOR, sampler=sampler, pruning=pruning, seed=10_000 * repeat
    )
    found = tune(workload("digits"), plan)
    print(f"samplers: {sampler}, {pruning=}, repeat {repeat}", file=sys.stderr)
    assert found.tuned_metric is not None
    return {
        "sampler": sampler,
        "pruning": pruning,
        "repeat": repeat,
        "found": found.tuned_metric.value,
        "defaults": None if found.defaults_metric is None else found.defaults_metric.value,
        "steps": sum(trial.run.steps for trial in found.trials),
    }


def to_markdown(found: Record) -> str:
    """A row for each sampler, without and with early stopping."""
    header = ("sampler", "early stopping", "found", "worst", "random", "steps")
    by_kind: dict[tuple[str, bool], list[Record]] = {}
    for row in found["rows"]:
        by_kind.setdefault((row["sampler"], row["pruning"]), []).append(row)
    random = by_kind["random", False]
    rows = [
        [
            sampler,
            "yes" if pruning else "no",
            f"{fmean(row['found'] for row in rows):.1%}",
            f"{min(row['found'] for row in rows):.1%}",
            "" if rows is random else _as_good(rows, random),
            f"{sum(row['steps'] for row in rows) / sum(row['steps'] for row in random):.0%}",
        ]
        for (sampler, pruning), rows in by_kind.items()
    ]
    return markdown.table(header, rows, names=2)


def _as_good(rows: Sequence[Record], random: Sequence[Record]) -> str:
    both = zip(rows, random, strict=True)
    return f"{sum(row['found'] >= other['found'] for row, other in both)} of {len(rows)}"
