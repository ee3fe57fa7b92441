"""Does early stopping cut the best setting? For docs/tune.md.

Settings drawn at random are the same with and without early stopping, so each trial that was
stopped is known to its end. A row is a rule: how often the best trial was stopped, how much the
best one that was not is worse than it, and the share of the training that was done, there and in a
search with TPE, with the test accuracy of what that found.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from unittest import mock

from adamantine.records import TuneRecord
from adamantine.study import TunePlan, tune
from adamantine.study.tune import search
from adamantine.study.tune.pruning import REDUCTION_FACTOR, RUNG_SPACING, Halving
from benchmarks import markdown
from benchmarks.records import Options, Record
from benchmarks.studies.pool import pool, workload
from benchmarks.studies.samplers import POOR, TRIALS, TRIALS_QUICK

REPEATS = 5
HEADS = (
    "one goes on of",
    "next rung",
    "floor, epochs",
    "best trial stopped",
    "the best left is worse by, at most",
    "trained",
    "trained with TPE",
    "found",
    "worst",
)


@dataclass(frozen=True)
class Rule:
    """A way to stop trials."""

    reduction_factor: int = REDUCTION_FACTOR
    rung_spacing: int = RUNG_SPACING
    floor: int = 1

    def run(self, plan: TunePlan) -> TuneRecord:
        """A search under this rule."""
        plan = replace(plan, pruning=True, floor=self.floor)
        halving = Halving(self.floor * plan.looks, self.reduction_factor, self.rung_spacing)
        with mock.patch.object(search, "pruner", return_value=halving):
            return tune(workload("digits"), plan)


RULES = (Rule(), Rule(floor=2), Rule(4, 4), Rule(4, 2), Rule(2, 2))


def run(options: Options) -> Record:
    """All repeats, several at a time."""
    repeats = options.rounds_or(REPEATS, 1)
    trials = TRIALS_QUICK if options.quick else TRIALS
    rules = RULES[: 1 if options.quick else None]
    with pool(options) as processes:
        running = [processes.submit(repeat, rules, number, trials) for number in range(repeats)]
        rows = [row for each in running for row in each.result()]
    return {"workload": "digits", "trials": trials, "rows": rows}


def repeat(rules: Sequence[Rule], number: int, trials: int) -> list[Record]:
    """What each rule comes to, beside the trials that were all trained to their end."""
    plan = TunePlan(("adam",), trials=trials, space=POOR, sampler="random", pruning=False)
    plan = replace(plan, seed=10_000 * number)
    whole = {trial.number: trial for trial in tune(workload("digits"), plan).trials}
    scores = {n: trial.score for n, trial in whole.items() if trial.score is not None}
    everything = sum(trial.run.steps for trial in whole.values())
    rows = []
    for rule in rules:
        cut = rule.run(plan).trials
        kept = {trial.number for trial in cut if trial.outcome == "finished"}
        modelled = rule.run(replace(plan, sampler="tpe"))
        assert modelled.tuned_metric is not None
        rows.append(
            {
                **asdict(rule),
                "repeat": number,
                "lost": max(scores.values()) - max(scores[number] for number in kept),
                "trained": sum(trial.run.steps for trial in cut) / everything,
                "trained_tpe": sum(trial.run.steps for trial in modelled.trials) / everything,
                "found": modelled.tuned_metric.value,
            }
        )
        print(f"pruning: repeat {number}, {rule}", file=sys.stderr)
    return rows


def to_markdown(found: Record) -> str:
    """A row for each rule."""
    by_rule: dict[Rule, list[Record]] = {}
    for row in found["rows"]:
        rule = Rule(row["reduction_factor"], row["rung_spacing"], row["floor"])
        by_rule.setdefault(rule, []).append(row)
    return markdown.table(HEADS, [_row(*of) for of in by_rule.items()], names=0)


def _row(rule: Rule, repeats: Sequence[Record]) -> list[str]:
    lost, trained, trained_tpe, found = (
        [repeat[key] for repeat in repeats] for key in ("lost", "trained", "trained_tpe", "found")
    )
    cells = (
        str(rule.reduction_factor),
        f"{rule.rung_spacing} ×",
        str(rule.floor),
    )
    if rule == Rule():  # the one in use
        cells = tuple(f"**{cell}**" for cell in cells)
    return [
        *cells,
        f"{sum(points > 0 for points in lost)} of {len(lost)}",
        f"{100 * max(lost):.1f} points",
        f"{fmean(trained):.0%}",
        f"{fmean(trained_tpe):.0%} ({min(trained_tpe):.0%} to {max(trained_tpe):.0%})",
        f"{fmean(found):.1%}",
        f"{min(found):.1%}",
    ]
