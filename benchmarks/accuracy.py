"""What states of 16 and 8 bits cost in accuracy: equal seeds, states in float32 and below.

Digits by two networks, judged by their test accuracy, and a character transformer, judged by its
validation loss. A run is a process of its own with one thread, so that the figures do not depend on
how many run at a time. About half an hour on two cores; finished runs are kept in a journal.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from benchmarks import markdown, text
from benchmarks.measure import paired_difference
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record
from benchmarks.runs import finish, last
from benchmarks.training_run import Run

PRECISIONS = ("float32", "bfloat16", "int8")
POINTS_BAR, LOSS_BAR = 0.2, 1.01


@dataclass(frozen=True)
class Task:
    """Something to train, and with how many seeds."""

    workload: str
    seeds: int
    config: Mapping[str, Any]
    optimizer: str = "adamantine.Adam"
    settings: Mapping[str, Any] = field(default_factory=dict)
    workload_settings: Mapping[str, Any] = field(default_factory=dict)

    def run(self, precision: str, seed: int) -> Run:
        """The training with states in `precision`."""
        return Run(
            workload=self.workload,
            seed=seed,
            settings={**self.settings, "state_dtype": precision, "rounding_seed": seed},
            config=self.config,
            optimizer=self.optimizer,
            workload_settings=self.workload_settings,
        )


TRANSFORMER = {"optimizer": "adamantine.AdamW", "settings": {"lr": 1e-3}}
TASKS = (
    Task("mnist", 20, {"epochs": 5}),
    Task("mnist-cnn", 10, {"epochs": 5}),
    Task("text", 3, {"epochs": 10, "schedule": "one-cycle"}, **TRANSFORMER),
)
QUICK_TASKS = (
    Task("digits", 2, {"epochs": 1}),
    Task(
        "text", 2, {"epochs": 1, "schedule": "one-cycle"}, **TRANSFORMER,
        workload_settings={"steps": 4, "width": 64, "layers": 1, "windows": 8},
    ),
)  # fmt: skip


def run(options: Options) -> Record:
    """Train all, several at a time."""
    if not options.quick:
        needs_mnist(options.data_dir)
    tasks = QUICK_TASKS if options.quick else TASKS
    plan = [
        (task, precision, seed)
        for task in tasks
        for seed in range(options.rounds or task.seeds)
        for precision in PRECISIONS
    ]
    results = finish(
        "accuracy", [task.run(precision, seed) for task, precision, seed in plan], options
    )
    return {
        "jobs": options.jobs_or_cores(),
        "text": {
            "of_python": platform.python_version(),
            "fingerprint": text.fingerprint(),
            "entropy": text.entropy(),
        },
        "runs": [
            {"workload": task.workload, "precision": precision, "seed": seed, **result}
            for (task, precision, seed), result in zip(plan, results, strict=True)
        ],
    }


def to_markdown(found: Record) -> str:
    """A table of accuracies and one of losses."""
    by_workload: dict[str, dict[str, list[Record]]] = {}
    for each in found["runs"]:
        by_precision = by_workload.setdefault(each["workload"], {})
        by_precision.setdefault(each["precision"], []).append(each)
    digits = {name: all_ for name, all_ in by_workload.items() if name != "text"}
    return "\n\n".join(
        [
            "**Digits: test accuracy after the last epoch, equal seeds**",
            _table(
                digits, "test accuracy",
                f"points above float32 (95 %); bar: ±{POINTS_BAR}", _accuracy_cells,
            ),
            "**A transformer on Python's standard library: validation loss, equal seeds "
            f"({found['text']['entropy']:.2f} is what the bytes' frequencies alone give)**",
            _table(
                {"text": by_workload["text"]}, "validation loss, nats a byte",
                f"× float32's (smallest – largest); bar: {LOSS_BAR}", _loss_cells,
            ),
        ]
    )  # fmt: skip


def _table(
    by_workload: Mapping[str, Mapping[str, list[Record]]],
    outcome: str,
    difference: str,
    cells: Callable[[list[Record], list[Record]], list[str]],
) -> str:
    header = (
        "workload",
        "parameters",
        "states",
        "seeds",
        "state, bytes/parameter",
        outcome,
        difference,
    )
    rows = [
        [
            workload,
            f"{runs[0]['parameters']:,}",
            precision,
            str(len(runs)),
            f"{runs[0]['optimizer_bytes'] / runs[0]['parameters']:.2f}",
            *cells(runs, by_precision["float32"]),
        ]
        for workload, by_precision in by_workload.items()
        for precision, runs in by_precision.items()
    ]
    return markdown.table(header, rows, names=3)


def _accuracy_cells(runs: list[Record], reference: list[Record]) -> list[str]:
    points, theirs = (
        [100 * value for value in last(r, "test_accuracy")] for r in (runs, reference)
    )
    return [f"{mean(points):.2f} %", "" if runs is reference else points_above(points, theirs)]


def points_above(points: Sequence[float], reference: Sequence[float]) -> str:
    """The difference of the means with its interval, and whether that is within the bar."""
    middle, low, high = paired_difference(points, reference)
    verdict = "within" if max(-low, high) <= POINTS_BAR else "not within"
    return f"**{middle:+.3f}** ({low:+.3f} – {high:+.3f}), {verdict}"


def _loss_cells(runs: list[Record], reference: list[Record]) -> list[str]:
    losses, theirs = last(runs, "test_loss"), last(reference, "test_loss")
    return [
        f"{mean(losses):.4f}",
        "" if runs is reference else markdown.ratio_of_means(losses, theirs),
    ]
