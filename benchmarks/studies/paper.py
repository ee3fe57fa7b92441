"""The training cost of a study's final runs by epoch, and pairs compared on the same seeds.

Usage: python -m benchmarks.studies.paper DIR EPOCH [EPOCH ...]

Adam's paper compares optimizers by the cost on the training data; a comparison judges by data it
has not trained on. This prints the former from the ``study.json`` of the latter, as Markdown.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path
from statistics import mean

from scipy import stats

from adamantine.records import StudyRecord, parse
from adamantine.study.statistics.pairs import holm


def costs(study: StudyRecord, contestant: str, epoch: int) -> list[float]:
    """The mean loss over the batches of an epoch, one number a seed; of equally many each look."""
    return [
        mean(look.train_loss for look in run.looks if epoch - 1 < look.epoch <= epoch + 1e-9)
        for run in study.runs
        if (run.contestant, run.purpose) == (contestant, "final") and run.diverged is None
    ]


def main() -> None:
    folder, *epochs = sys.argv[1:]
    path = Path(folder) / "study.json"
    study = StudyRecord.from_json(parse(path.read_text(encoding="utf-8"), str(path)), str(path))
    names = [contestant.name for contestant in study.contestants]
    print(f"| | {' | '.join(f'epoch {epoch}' for epoch in epochs)} |")
    print(f"|:--|{'--:|' * len(epochs)}")
    for name in sorted(names, key=lambda name: mean(costs(study, name, int(epochs[-1])))):
        found = (f"{mean(costs(study, name, int(epoch))):.4f}" for epoch in epochs)
        print(f"| {name} | {' | '.join(found)} |")
    pairs = list(combinations(names, 2))
    last = int(epochs[-1])
    tests = [stats.ttest_rel(costs(study, a, last), costs(study, b, last)) for a, b in pairs]
    print(f"\n| epoch {last} | difference | p (Holm) |\n|:--|--:|--:|")
    corrected = holm([float(test.pvalue) for test in tests])
    for (a, b), test, p in zip(pairs, tests, corrected, strict=True):
        low, high = test.confidence_interval()
        value = mean(costs(study, a, last)) - mean(costs(study, b, last))
        print(f"| {a} − {b} | {value:+.4f} [{low:+.4f}, {high:+.4f}] | {p:.2g} |")


if __name__ == "__main__":
    main()
