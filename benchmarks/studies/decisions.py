"""How good is what studies recommend? Figures of docs/statistics.md.

Simulated studies, as in ``equals``: three contestants of which one needs no state, so that it is
recommended unless it is shown to be worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypedDict

import numpy as np
from numpy.random import Generator

from adamantine.records import Contestant
from adamantine.study.compare.decision import decide
from adamantine.study.compare.subject import Subject
from adamantine.study.statistics.best import shortfalls
from adamantine.study.statistics.intervals import mean, mean_interval
from adamantine.study.statistics.pairs import Sample, compare
from benchmarks import markdown
from benchmarks.records import Options, Record
from benchmarks.studies.pool import pool
from benchmarks.studies.simulated import LEVEL, NAMES, accuracies

STUDIES, STUDIES_QUICK = 1000, 3
SEEDS = (3, 5, 10)
GAPS = (0.0, 0.005, 0.01, 0.02, 0.04)
"""By so much is the cheapest one truly worse than the two others."""
SPREAD = 0.01
"""Deviation of the true accuracies where they are drawn."""
BYTES = (0, 400, 800)


class Row(TypedDict):
    """What became of the studies of one kind.

    ``worse``: recommended one that is truly worse than another; ``margin``: stated, median;
    ``beyond``: it was worse by more than was stated; ``again``: another study of the same size
    showed it to be worse.
    """

    gap: float | None
    seeds: int
    worse: int
    margin: float
    beyond: int
    again: int


def run(options: Options) -> Record:
    """Simulate studies of all kinds."""
    studies = STUDIES_QUICK if options.quick else STUDIES
    with pool(options) as processes:
        rows = [
            processes.submit(recommended, gap, seeds, studies)
            for gap in (*GAPS, None)
            for seeds in SEEDS
        ]
        return {"studies": studies, "rows": [row.result() for row in rows]}


def recommended(gap: float | None, seeds: int, studies: int) -> Row:
    """Studies whose cheapest contestant is worse by `gap`; None draws all true accuracies."""
    rng = np.random.default_rng([0 if gap is None else round(1e4 * gap) + 1, seeds])
    margins = []
    worse = beyond = again = 0
    for _ in range(studies):
        levels = _levels(rng, gap)
        study = _study(accuracies(rng, NAMES, seeds, levels))
        decision, _ = decide(study)
        assert decision.shortfall is not None
        lost = max(levels) - levels[NAMES.index(decision.contestant)]
        margins.append(decision.shortfall)
        worse += lost > 0
        beyond += lost > decision.shortfall
        pairs = compare(accuracies(rng, NAMES, seeds, levels), "metric", "max")
        again += any(
            pair.better and decision.contestant in {pair.first, pair.second} - {pair.better}
            for pair in pairs
        )
    return Row(
        gap=gap, seeds=seeds, worse=worse, margin=median(margins), beyond=beyond, again=again
    )


def _levels(rng: Generator, gap: float | None) -> list[float]:
    if gap is None:
        drawn = LEVEL - 0.02 + SPREAD * rng.normal(size=len(NAMES))
        return [float(level) for level in drawn.clip(0, 0.98)]
    return [LEVEL - gap, LEVEL, LEVEL]


def _study(samples: Sequence[Sample]) -> Subject:
    contestants = [
        Contestant(
            name=sample.name,
            spec=sample.name,
            optimizer="adamantine.SGD",
            settings={},
            trials=(),
            metric=mean_interval([*sample.values.values()], 0.0, 1.0),
            loss=None,
            epochs_to_target=None,
            steps_to_target=None,
            seconds_to_target=None,
            width=None,
            seconds_per_step=1.0,
            state_bytes=size,
            parameters=100,
            diverged=0,
        )
        for sample, size in zip(samples, BYTES, strict=True)
    ]
    return Subject(
        metric="accuracy",
        direction="max",
        target=mean([0.9]),
        epochs=1.0,
        tolerance=0.01,
        contestants=contestants,
        differences=compare(samples, "metric", "max"),
        finals={sample.name: [None] * len(sample.values) for sample in samples},  # type: ignore[list-item]
        shortfalls=shortfalls(samples, "max"),
    )


def to_markdown(found: Record) -> str:
    """A row for each kind of study."""
    studies = found["studies"]
    header = (
        "the cheapest is worse by",
        "seeds",
        "a worse one recommended",
        "margin stated (median)",
        "worse by more than that",
        "shown to be worse by another study",
    )
    rows = [
        [
            _gap(row["gap"]),
            str(row["seeds"]),
            f"{100 * row['worse'] / studies:.0f} %",
            f"{100 * row['margin']:.1f} points",
            f"{100 * row['beyond'] / studies:.1f} %",
            f"{100 * row['again'] / studies:.0f} %",
        ]
        for row in found["rows"]
    ]
    return markdown.table(header, rows)


def _gap(gap: float | None) -> str:
    if gap is None:
        return "drawn"
    return f"{100 * gap:g} point{'' if gap == 0.01 else 's'}"
