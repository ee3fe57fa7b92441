"""Is what `adamantine tune` finds as good as random search, at half the time? For docs/tune.md.

    python -m benchmarks.studies.searches [WORKLOAD] [REPEATS] [OUT]

A row is a repeat: Adam from a poor space, learning rates from 1e-6 to 1. The peer is random search
as it is usually done: settings are drawn, each is trained to its end, and the one that scored best
is taken. The search is the command's own, with early stopping and rechecks. Both settings are then
judged on the same 20 fresh seeds. Steps and seconds are those of the trials, in percent of random
search's. The last column has the steps of all that the command does, with its usual five seeds in
the finals, in percent of the same without early stopping. OUT keeps what the searches found.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import optuna
import torch

from adamantine.records import SearchTrial
from adamantine.study import TunePlan, tune
from adamantine.study.runs.conditions import build_context
from adamantine.study.runs.training import train_once
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.statistics.intervals import mean_interval
from adamantine.study.tune.finals import Entry
from adamantine.study.tune.search import ranked, score_of
from adamantine.study.tune.suggest import Spaces
from adamantine.workloads import load
from benchmarks.studies.samplers import POOR, TRIALS

PLAN = TunePlan(("adam",), trials=TRIALS, space=POOR, seeds=20, seed=500_000_000)
"""The seed is far from those that anything was tried with before."""
USUAL = TunePlan.seeds
"""Seeds of the command's finals, where nothing else is asked for."""
HEADS = ("search", "found", "random search", "difference", "steps", "seconds", "all steps")


@dataclass(frozen=True)
class Row:
    """A repeat: two settings on the same seeds, and what the first one cost of the second."""

    found: list[float]
    plain: list[float]
    steps: float
    seconds: float
    all_steps: float

    def cells(self):
        """As printed."""
        difference = mean_interval(
            [100 * (a - b) for a, b in zip(self.found, self.plain, strict=True)]
        )
        return (
            f"{fmean(self.found):.2%}",
            f"{fmean(self.plain):.2%}",
            f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})",
            *(f"{share:.0%}" for share in (self.steps, self.seconds, self.all_steps)),
        )


def random_search(context, plan, spaces):
    """Its trials, each trained to its end."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=plan.seed))
    trials = []
    for number in range(plan.trials):
        setting = spaces.suggest(study.ask())
        (run,) = train(context, spaces, setting, "tune", [plan.seed_of_trial(number)])
        trials.append(SearchTrial(number, {}, score_of(run), run))
    return trials


def train(context, spaces, setting, purpose, seeds):
    """Runs of a setting, or of another run's setting."""
    own = spaces.contestants[setting.contestant]
    tasks = Entry("found", own, setting.settings, setting.training).tasks(purpose, seeds)
    return [train_once(context, task) for task in tasks]


def repeat(workload, plan, out):
    """A row of the table."""
    context = build_context(workload, plan, None)
    spaces = Spaces(parse_contestants(plan.contestants), plan.space)
    trials = random_search(context, plan, spaces)
    best = ranked(trials, workload.metric.direction)[0].run
    judged = train(context, spaces, best, "final", plan.seeds_of_finals)
    found = tune(workload, plan, out=out)
    finals = [run for run in found.runs if run.purpose == "final"]
    own = [run for run in finals if run.settings]  # the defaults have none
    after = [run for run in found.runs if run.purpose == "tune"]
    after += [run for run in finals if run.seed in plan.seeds_of_finals[:USUAL]]
    ours, theirs = ([trial.run for trial in each] for each in (found.trials, trials))
    steps, all_to_the_end, more = (sum(run.steps for run in runs) for runs in (ours, theirs, after))
    return Row(
        [run.test_metric for run in own],
        [run.test_metric for run in judged],
        steps / all_to_the_end,
        sum(run.seconds for run in ours) / sum(run.seconds for run in theirs),
        (steps + more) / (all_to_the_end + more),
    )


def main():
    """Print the table, a line as soon as it is measured."""
    name = sys.argv[1] if len(sys.argv) > 1 else "digits"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    out = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workload = load(name)
    print(f"| {' | '.join(HEADS)} |")
    print("|---" * len(HEADS) + "|", flush=True)
    rows = []
    for number in range(repeats):
        plan = replace(PLAN, seed=PLAN.seed + 10_000 * number)
        rows.append(repeat(workload, plan, out and out / str(number + 1)))
        print(f"| {' | '.join((str(number + 1), *rows[-1].cells()))} |", flush=True)
    as_good = sum(fmean(row.found) >= fmean(row.plain) for row in rows)
    means = [
        fmean(getattr(row, part) for row in rows) for part in ("steps", "seconds", "all_steps")
    ]
    costs = "{:.0%} of the steps, {:.0%} of the seconds, {:.0%} of all steps".format(*means)
    print(f"At least as good in {as_good} of {repeats}; on average {costs}")


if __name__ == "__main__":
    main()
