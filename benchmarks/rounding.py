"""Parameters of 16 bits whose updates are far smaller than their last digit.

MNIST with a learning rate of 1e-5: nine weights of ten are larger than 0.004, where the next
bfloat16 is 3e-5 away, so that an update rounded to nearest is none. A run is a process of its own
with one thread. About ten minutes on two cores; finished runs are kept in a journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from adamantine.records import EpochRecord, RunRecord
from adamantine.report.curves import comparison_png
from benchmarks import markdown
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record
from benchmarks.runs import finish, last
from benchmarks.training_run import Run

LR = 1e-5
SEEDS, QUICK_SEEDS = 3, 1
EPOCHS, QUICK_EPOCHS = 10, 2
BAR = 1.02

FLOAT32 = "float32"
# States in float32, so that nothing but the parameters' rounding differs; then the pair that is
# meant to be used.
ROUNDINGS: Mapping[str, Mapping[str, Any]] = {
    "nearest": {"param_rounding": "nearest", "state_dtype": "float32"},
    "stochastic": {"param_rounding": "stochastic", "state_dtype": "float32"},
    "kahan": {"param_rounding": "kahan", "state_dtype": "float32"},
    "stochastic, int8": {"param_rounding": "stochastic", "state_dtype": "int8"},
}


def run(options: Options) -> Record:
    """Train with parameters in float32, and in bfloat16 with each way to round."""
    if not options.quick:
        needs_mnist(options.data_dir)
    seeds = range(options.rounds_or(SEEDS, QUICK_SEEDS))
    plan = {name: [_run(name, seed, options) for seed in seeds] for name in (FLOAT32, *ROUNDINGS)}
    results = iter(finish("rounding", [run for runs in plan.values() for run in runs], options))
    return {
        "lr": LR,
        "jobs": options.jobs_or_cores(),
        "results": {name: [next(results) for _ in runs] for name, runs in plan.items()},
    }


def _run(name: str, seed: int, options: Options) -> Run:
    settings = ROUNDINGS.get(name, {"state_dtype": "float32"})
    return Run(
        workload="digits" if options.quick else "mnist",
        seed=seed,
        settings={"lr": LR, **settings, "rounding_seed": seed},
        config={"epochs": QUICK_EPOCHS if options.quick else EPOCHS},
        param_dtype="float32" if name == FLOAT32 else "bfloat16",
    )


def to_markdown(found: Record) -> str:
    """A row for each way to round."""
    results = found["results"]
    seeds, epochs = len(results[FLOAT32]), len(results[FLOAT32][0]["epochs"])
    header = (
        "parameters", "test loss", f"× float32's (smallest – largest); bar: {BAR}", "test accuracy"
    )  # fmt: skip
    theirs = last(results[FLOAT32], "test_loss")
    rows = [
        [
            _label(name),
            f"{mean(losses):.4f}",
            "" if name == FLOAT32 else markdown.ratio_of_means(losses, theirs),
            f"{mean(last(runs, 'test_accuracy')):.2%}",
        ]
        for name, runs in results.items()
        for losses in [last(runs, "test_loss")]
    ]
    title = f"Adam with a learning rate of {found['lr']:g}, {epochs} epochs, seeds: {seeds}"
    return f"**{title}**\n\n{markdown.table(header, rows)}"


def picture(found: Record) -> bytes:
    """Loss and accuracy against epochs, each the mean over the seeds; a PNG image."""
    records = {name: _mean_record(runs) for name, runs in found["results"].items()}
    parts = ("MNIST", "Adam", f"lr {found['lr']:g}", "bfloat16 parameters, by their rounding")
    return comparison_png(records, "  ·  ".join(parts))


def _label(name: str) -> str:
    return name if name == FLOAT32 else f"bfloat16, {name}".replace("int8", "int8 states")


def _mean_record(runs: list[Record]) -> RunRecord:
    epochs = zip(*(result["epochs"] for result in runs), strict=True)
    means = [{key: mean(e[key] for e in same) for key in same[0]} for same in epochs]
    return RunRecord({}, {}, {}, epochs=tuple(map(EpochRecord.from_json, means)))
