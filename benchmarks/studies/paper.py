"""The training cost of a study's final runs by epoch, and pairs compared on the same seeds.

Adam's paper compares optimizers by the cost on the training data; a comparison judges by data it
has not trained on. These tables of docs/paper.md have the former, from the runs of the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from scipy import stats

from adamantine.records import StudyRecord
from adamantine.study.statistics.pairs import holm
from benchmarks import markdown


class Pair(NamedTuple):
    """Two contestants' difference with its 95 % interval, and its p after Holm's correction."""

    first: str
    second: str
    value: float
    low: float
    high: float
    p: float


def costs(study: StudyRecord, contestant: str, epoch: int) -> list[float]:
    """The mean loss over the batches of an epoch, one number a seed; of equally many each look."""
    return [
        fmean(look.train_loss for look in run.looks if epoch - 1 < look.epoch <= epoch + 1e-9)
        for run in study.runs
        if (run.contestant, run.purpose) == (contestant, "final") and run.diverged is None
    ]


def ranked(study: StudyRecord, epoch: int) -> list[str]:
    """Contestants by their cost."""
    names = [contestant.name for contestant in study.contestants]
    return sorted(names, key=lambda name: fmean(costs(study, name, epoch)))


def pairs(study: StudyRecord, epoch: int) -> list[Pair]:
    """All of them, by a paired t-test."""
    names = [contestant.name for contestant in study.contestants]
    both = [
        (a, b, costs(study, a, epoch), costs(study, b, epoch)) for a, b in combinations(names, 2)
    ]
    tests = [stats.ttest_rel(first, second) for *_, first, second in both]
    corrected = holm([float(test.pvalue) for test in tests])
    return [
        Pair(a, b, fmean(first) - fmean(second), *map(float, test.confidence_interval()), p)
        for (a, b, first, second), test, p in zip(both, tests, corrected, strict=True)
    ]


def cost_table(study: StudyRecord, epochs: Sequence[int]) -> str:
    """The costs, the lowest in the end first."""
    rows = [
        [name, *(f"{fmean(costs(study, name, epoch)):.4f}" for epoch in epochs)]
        for name in ranked(study, epochs[-1])
    ]
    return markdown.table(("", *(f"epoch {epoch}" for epoch in epochs)), rows)


def pair_table(study: StudyRecord, epoch: int) -> str:
    """The differences."""
    rows = [
        [
            f"{pair.first} − {pair.second}",
            f"{pair.value:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]",
            f"{pair.p:.2g}",
        ]
        for pair in pairs(study, epoch)
    ]
    return markdown.table((f"epoch {epoch}", "difference", "p (Holm)"), rows)
