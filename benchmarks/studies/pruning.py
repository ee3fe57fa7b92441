"""Does early stopping cut the best setting? The figures of docs/tune.md.

    python -m benchmarks.studies.pruning [WORKLOAD] [REPEATS]

Settings drawn at random are the same with and without early stopping, so each trial that was
stopped is known to its end. A row is a rule: how often the best trial of 40 was stopped, how much
the best one that was not is worse than it, and the share of the training that was done, there and
in a search with TPE, with the test accuracy of what that found.
"""

import sys
from dataclasses import dataclass, field, replace
from unittest import mock

import torch

from adamantine.study import TunePlan, tune
from adamantine.study.tune import search
from adamantine.study.tune.pruning import REDUCTION_FACTOR, RUNG_SPACING, Halving
from adamantine.workloads import load
from benchmarks.studies.samplers import POOR, TRIALS

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


@dataclass
class Rule:
    """A way to stop trials, and what came of it in each repeat."""

    reduction_factor: int = REDUCTION_FACTOR
    rung_spacing: int = RUNG_SPACING
    floor: int = 1
    lost: list[float] = field(default_factory=list)
    trained: list[float] = field(default_factory=list)
    trained_tpe: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)

    def run(self, workload, plan):
        """A search under this rule."""
        plan = replace(plan, pruning=True, floor=self.floor)
        halving = Halving(self.floor * plan.looks, self.reduction_factor, self.rung_spacing)
        with mock.patch.object(search, "pruner", return_value=halving):
            return tune(workload, plan)

    def repeat(self, workload, plan, whole):
        """One repeat, beside the trials that were all trained to their end."""
        scores = {n: trial.score for n, trial in whole.items() if trial.score is not None}
        everything = sum(trial.run.steps for trial in whole.values())
        cut = self.run(workload, plan).trials
        kept = {trial.number for trial in cut if trial.outcome == "finished"}
        self.lost.append(max(scores.values()) - max(scores[number] for number in kept))
        self.trained.append(sum(trial.run.steps for trial in cut) / everything)
        modelled = self.run(workload, replace(plan, sampler="tpe"))
        self.trained_tpe.append(sum(trial.run.steps for trial in modelled.trials) / everything)
        self.found.append(modelled.tuned_metric.value)

    def row(self):
        """Of the table."""
        repeats = len(self.lost)
        cells = (
            str(self.reduction_factor),
            f"{self.rung_spacing} ×",
            str(self.floor),
            f"{sum(lost > 0 for lost in self.lost)} of {repeats}",
            f"{100 * max(self.lost):.1f} points",
            f"{sum(self.trained) / repeats:.0%}",
            f"{sum(self.trained_tpe) / repeats:.0%}"
            f" ({min(self.trained_tpe):.0%} to {max(self.trained_tpe):.0%})",
            f"{sum(self.found) / repeats:.1%}",
            f"{min(self.found):.1%}",
        )
        return f"| {' | '.join(cells)} |"


def main():
    """Print the table."""
    name = sys.argv[1] if len(sys.argv) > 1 else "digits"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    torch.set_num_threads(1)
    workload = load(name)
    rules = [Rule(), Rule(floor=2), Rule(4, 4), Rule(4, 2), Rule(2, 2)]
    for number in range(repeats):
        plan = TunePlan(("adam",), trials=TRIALS, space=POOR, sampler="random", pruning=False)
        plan = replace(plan, seed=10_000 * number)
        whole = {trial.number: trial for trial in tune(workload, plan).trials}
        for rule in rules:
            rule.repeat(workload, plan, whole)
    print(f"| {' | '.join(HEADS)} |")
    print("|---" * len(HEADS) + "|")
    for rule in rules:
        print(rule.row())


if __name__ == "__main__":
    main()
