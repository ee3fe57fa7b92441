"""Does early stopping cut the best setting? The figures of docs/tune.md.

    python -m benchmarks.pruning [WORKLOAD] [REPEATS] [FLOOR …]

Settings drawn at random are the same with and without early stopping, so each trial that was
stopped is known to its end. A row is a floor: how often the best trial of 40 was stopped, how much
the best one that was not is worse than it, and the share of the training that was done.
"""

import sys
from dataclasses import replace

import torch

from adamantine.study import TunePlan, tune
from adamantine.workloads import load
from benchmarks.samplers import POOR, TRIALS


def main():
    """Print the table."""
    name = sys.argv[1] if len(sys.argv) > 1 else "digits"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    floors = [int(floor) for floor in sys.argv[3:]] or [1, 2]
    torch.set_num_threads(1)
    workload = load(name)
    rows = {floor: [] for floor in floors}
    for repeat in range(repeats):
        plan = TunePlan(("adam",), trials=TRIALS, space=POOR, sampler="random", pruning=False)
        plan = replace(plan, seed=10_000 * repeat)
        whole = {trial.number: trial for trial in tune(workload, plan).trials}
        scores = {n: trial.score for n, trial in whole.items() if trial.score is not None}
        best = max(scores.values())
        for floor in floors:
            cut = tune(workload, replace(plan, pruning=True, floor=floor)).trials
            kept = {trial.number for trial in cut if trial.outcome == "finished"}
            lost = best - max(scores[number] for number in kept)
            steps = sum(trial.run.steps for trial in cut)
            rows[floor].append((lost, steps / sum(trial.run.steps for trial in whole.values())))
    print("| floor, epochs | best trial stopped | the best left is worse by, at most | trained |")
    print("|---|---|---|---|")
    for floor, found in rows.items():
        stopped = sum(lost > 0 for lost, _ in found)
        share = sum(share for _, share in found) / repeats
        most = 100 * max(lost for lost, _ in found)
        print(f"| {floor} | {stopped} of {repeats} | {most:.1f} points | {share:.0%} |")


if __name__ == "__main__":
    main()
