"""Which of Optuna's samplers finds the better settings? The figures of docs/tune.md.

    python -m benchmarks.studies.samplers [WORKLOAD] [REPEATS] [SAMPLER …]

Each sampler searches Adam's own space, but for learning rates from 1e-6 to 1, with and without
early stopping. A row is a search: how good its setting is on seeds that no search has seen, what
the search itself believed, and how much training it took. The last column is processor time of
search and finals together, which other work on the machine does not change much.
"""

import sys
from time import process_time

import torch

from adamantine.study import TunePlan, tune
from adamantine.study.tune.plan import SAMPLERS
from adamantine.workloads import load

TRIALS = 40
POOR = ("lr=1e-6:1:log",)


def search(workload, sampler, pruning, seed):
    """A row of the table."""
    plan = TunePlan(
        ("adam",), trials=TRIALS, space=POOR, sampler=sampler, pruning=pruning, seed=seed
    )
    began = process_time()
    found = tune(workload, plan)
    best = max(trial.score for trial in found.trials if trial.score is not None)
    steps = sum(trial.run.steps for trial in found.trials)
    trained = sum(trial.run.seconds for trial in found.trials)
    return found.tuned_metric.value, best, steps, trained, process_time() - began


def main():
    """Print the table, a line as soon as it is measured."""
    name = sys.argv[1] if len(sys.argv) > 1 else "digits"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    samplers = sys.argv[3:] or SAMPLERS
    torch.set_num_threads(1)
    workload = load(name)
    print(
        "| sampler | early stopping | seed | found | believed | steps | trained, s | processor, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for repeat in range(repeats):
        for sampler in samplers:
            for pruning in (False, True):
                row = search(workload, sampler, pruning, 10_000 * repeat)
                cells = "{:.4f} | {:.4f} | {} | {:.1f} | {:.1f}".format(*row)
                print(
                    f"| {sampler} | {'yes' if pruning else 'no'} | {repeat} | {cells} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
