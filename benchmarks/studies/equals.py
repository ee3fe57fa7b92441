"""How often are contestants called different that are equal? The figures of docs/statistics.md.

The statistics of a comparison, on simulated studies: no training, known truth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adamantine.study.statistics.pairs import Sample, compare, power
from benchmarks import markdown
from benchmarks.records import Options, Record
from benchmarks.studies.pool import pool
from benchmarks.studies.simulated import EXAMPLES, accuracies, arrivals, widths

STUDIES, STUDIES_QUICK = 600, 3
POWER_STUDIES, SEEDS = 2000, 10
CONTESTANTS = (2, 3, 6)
CASES: dict[str, tuple[Callable[..., list[Sample]], str, str]] = {
    f"accuracy over {EXAMPLES} examples": (accuracies, "metric", "max"),
    "epochs to the worst one's best": (arrivals, "epochs_to_target", "min"),
    "width": (widths, "lr_width", "max"),
}


def run(options: Options) -> Record:
    """Count the studies that call any pair different."""
    studies = STUDIES_QUICK if options.quick else STUDIES
    with pool(options) as processes:
        running = {
            case: [processes.submit(wrong, case, count, studies) for count in CONTESTANTS]
            for case in CASES
        }
        found = processes.submit(right, STUDIES_QUICK if options.quick else POWER_STUDIES)
        return {
            "studies": studies,
            "wrong": {case: [each.result() for each in counts] for case, counts in running.items()},
            "power_studies": STUDIES_QUICK if options.quick else POWER_STUDIES,
            "right": found.result(),
        }


def wrong(case: str, contestants: int, studies: int) -> int:
    """Of so many studies of equals, those that call some pair different."""
    make, quantity, direction = CASES[case]
    rng = np.random.default_rng([contestants, studies])
    names = "abcdef"[:contestants]
    return sum(
        any(pair.better for pair in compare(make(rng, names), quantity, direction))
        for _ in range(studies)
    )


def right(studies: int) -> int:
    """Of so many studies of a difference of one deviation, those that find it."""
    rng = np.random.default_rng(studies)
    found = 0
    for _ in range(studies):
        base = rng.normal(size=SEEDS)
        samples = [
            Sample("a", dict(enumerate(base + 1 + rng.normal(size=SEEDS)))),
            Sample("b", dict(enumerate(base))),
        ]
        (pair,) = compare(samples, "metric", "max")
        found += pair.better == "a"
    return found


def theory() -> float:
    """The share of studies that find a difference of one deviation."""
    return power(SEEDS - 1, SEEDS**0.5, 0.05)


def to_markdown(found: Record) -> str:
    """Shares of studies by number of contestants."""
    header = (
        f"{found['studies']} studies of equals, called different",
        "2 contestants",
        *map(str, CONTESTANTS[1:]),
    )
    rows = [
        [case, *(f"{100 * count / found['studies']:.1f} %" for count in counts)]
        for case, counts in found["wrong"].items()
    ]
    return markdown.table(header, rows)
