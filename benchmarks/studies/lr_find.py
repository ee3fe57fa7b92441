"""Are the learning rates good that `adamantine lr-find` suggests? The tables of docs/lr_find.md.

The truth is the accuracy of whole trainings at rates a quarter of a decade apart. Against it stand
searches on seeds of their own, what is usually read off a sweep, and searches of other lengths.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from statistics import fmean, median
from textwrap import indent
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamantine.cli.lr_find.output import summary
from adamantine.errors import DivergedError
from adamantine.optim.by_name import build
from adamantine.records.lr_find import LrFindRecord
from adamantine.report.lr_find import lr_find_png
from adamantine.study.lr_find import find_learning_rate
from adamantine.study.lr_find.curve import smooth
from adamantine.train import TrainConfig, seed_everything, train
from benchmarks import markdown
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record
from benchmarks.studies.compact import compact, restored
from benchmarks.studies.comparison import smaller
from benchmarks.studies.pool import pool
from benchmarks.studies.pool import workload as load

Numbers = NDArray[np.float64]

PER_DECADE, DECADES = 4, 3
BATCH_SIZE = 64
EPOCHS = {"mnist": 5, "digits": 40}
TRUTH_SEEDS = {"mnist": 2, "digits": 3}
SEARCHES, SEEDS_A_SEARCH, STEPS = 20, 5, 50
FIRST_OF_SEARCHES, FIRST_OF_SWEEPS, FIRST_OF_LENGTHS = 1000, 2000, 3000
SWEEPS, SWEEP_LENGTHS = 30, (200, 400)
LENGTHS, SEEDS_A_LENGTH = (25, 50, 100, 200, 400, 800), 2
WITHIN = 0.005
"""A rate is good if its accuracy is at most so much below the best."""


class Case(NamedTuple):
    """An optimizer, and the lowest of the rates that whole trainings try."""

    optimizer: str
    settings: Mapping[str, Any]
    lowest: float


CASES = {
    "adam": Case("adam", {}, 1e-4),
    "sgd": Case("sgd", {}, 1e-2),
    "momentum": Case("sgd", {"momentum": 0.9}, 1e-3),
}


def run(options: Options) -> Record:
    """All trainings and searches, several at a time."""
    data_dir = None if options.quick else str(needs_mnist(options.data_dir).root)
    names = ["digits"] if options.quick else list(EPOCHS)
    cases = dict(list(CASES.items())[: 1 if options.quick else None])
    first = names[0]
    with pool(options) as processes:
        plan = _Plan(processes, data_dir, options)
        truth = {name: {case: plan.truth(name, case) for case in cases} for name in names}
        searches = {name: {case: plan.searches(name, case) for case in cases} for name in names}
        sweeps = {case: plan.sweeps(first, case) for case in cases}
        lengths = {case: plan.lengths(first, case) for case in cases}
        found = _results({"truth": truth, "searches": searches, "sweeps": sweeps})
        ends = {
            name: {case: plan.ends(name, case, found["searches"][name][case]) for case in cases}
            for name in names
        }
        rest = _results({"lengths": lengths, "ends": ends, "example": plan.example(first)})
    return {
        "batch_size": BATCH_SIZE,
        "epochs": {name: plan.epochs(name) for name in names},
        **found,
        **rest,
    }


class _Plan:
    """What is to be computed; the pool's results come later."""

    def __init__(self, pool: Executor, data_dir: str | None, options: Options) -> None:
        self.pool, self.data_dir, self.options = pool, data_dir, options

    def _number(self, usual: int) -> int:
        return 2 if self.options.quick else usual

    def epochs(self, workload: str) -> int:
        return 1 if self.options.quick else EPOCHS[workload]

    def _submit(self, function: Callable[..., Any], workload: str, *rest: Any) -> Future[Any]:
        folder = self.data_dir if workload == "mnist" else None
        return self.pool.submit(function, workload, folder, *rest)

    def _at(self, workload: str, case: str, rate: float) -> list[Any]:
        seeds = range(self._number(TRUTH_SEEDS[workload]))
        epochs = self.epochs(workload)
        return [rate, [self._submit(accuracy, workload, case, rate, s, epochs) for s in seeds]]

    def truth(self, workload: str, case: str) -> list[Any]:
        count = self._number(PER_DECADE * DECADES + 1)
        rates = [CASES[case].lowest * 10 ** (index / PER_DECADE) for index in range(count)]
        return [self._at(workload, case, float(f"{rate:.2g}")) for rate in rates]

    def ends(self, workload: str, case: str, searches: Sequence[Record]) -> list[Any]:
        suggested = [search["suggestion"] for search in searches]
        return [self._at(workload, case, rate) for rate in (min(suggested), max(suggested))]

    def searches(self, workload: str, case: str) -> list[Any]:
        return [
            self._submit(search, workload, case, FIRST_OF_SEARCHES + SEEDS_A_SEARCH * number)
            for number in range(self._number(SEARCHES))
        ]

    def sweeps(self, workload: str, case: str) -> Record:
        return {
            str(length): [
                self._submit(readings, workload, case, FIRST_OF_SWEEPS + number, length)
                for number in range(self._number(SWEEPS))
            ]
            for length in SWEEP_LENGTHS[: self._number(len(SWEEP_LENGTHS))]
        }

    def example(self, workload: str) -> Future[Any]:
        return self._submit(example, workload)

    def lengths(self, workload: str, case: str) -> Record:
        return {
            str(steps): self._submit(
                search, workload, case, FIRST_OF_LENGTHS, SEEDS_A_LENGTH, steps
            )
            for steps in LENGTHS[: self._number(len(LENGTHS))]
        }


def _results(planned: Any) -> Any:
    """The same, with results in place of what is computed."""
    if isinstance(planned, Future):
        return planned.result()
    if isinstance(planned, dict):
        return {key: _results(value) for key, value in planned.items()}
    if isinstance(planned, list):
        return [_results(value) for value in planned]
    return planned


def accuracy(
    workload: str, data_dir: str | None, case: str, rate: float, seed: int, epochs: int
) -> float | None:
    """On the test set, after a training at a constant rate; None if it diverged."""
    data = load(workload, data_dir)
    seed_everything(seed)
    model = data.model()
    optimizer = build(
        CASES[case].optimizer, model.parameters(), {**CASES[case].settings, "lr": rate}
    )
    config = TrainConfig(epochs=epochs, batch_size=BATCH_SIZE, seed=seed)
    try:
        record = train(data, model, optimizer, config)
    except DivergedError:
        return None
    return float(record.epochs[-1].test_metric)


def search(
    workload: str,
    data_dir: str | None,
    case: str,
    seed: int,
    seeds: int = SEEDS_A_SEARCH,
    steps: int = STEPS,
) -> Record:
    """What the command suggests."""
    found = find_learning_rate(
        load(workload, data_dir),
        CASES[case].optimizer,
        settings=CASES[case].settings,
        seeds=seeds,
        steps=steps,
        seed=seed,
        batch_size=BATCH_SIZE,
    )
    print(
        f"lr_find: {case} on {workload}, seed {seed}: {found.suggestion.value:.2g}", file=sys.stderr
    )
    return {
        "seed": seed,
        "suggestion": _rounded(found.suggestion.value),
        "diverges_at": found.diverges_at,
        "steps_taken": found.steps_taken,
    }


def example(workload: str, data_dir: str | None) -> Record:
    """The whole record of the page's first search, whose picture is drawn from it."""
    return compact(find_learning_rate(load(workload, data_dir), "adam").to_json())


def readings(workload: str, data_dir: str | None, case: str, seed: int, length: int) -> Record:
    """What each rule reads off one sweep, however smoothed."""
    sweep = find_learning_rate(
        load(workload, data_dir),
        CASES[case].optimizer,
        settings=CASES[case].settings,
        seeds=1,
        steps=length // 2,  # a sweep has twice as many
        seed=seed,
        batch_size=BATCH_SIZE,
    ).sweep
    rates, losses = np.array(sweep.rates), np.array(sweep.losses[0])
    return {
        f"{rule}, {smoothing}": _rounded(read(rates, smoothed(sweep.rates, losses)))
        for smoothing, smoothed in SMOOTHINGS.items()
        for rule, read in RULES.items()
    }


def moving_average(rates: Sequence[float], losses: Numbers, keep: float = 0.98) -> Numbers:
    """Of past losses, without the bias of its start, up to where the loss explodes."""
    average, seen = 0.0, []
    for step, loss in enumerate(losses[: len(rates)], 1):
        average = keep * average + (1 - keep) * loss
        seen.append(average / (1 - keep**step))
        if not seen[-1] <= 4 * min(seen):
            return np.array(seen[:-1])
    return np.array(seen)


def symmetric(rates: Sequence[float], losses: Numbers) -> Numbers:
    """As the command smooths."""
    return smooth(rates, losses[None])


def steepest(rates: Numbers, curve: Numbers) -> float:
    """Where the curve falls fastest over the logarithm of the rate, on the way to its minimum."""
    slopes = np.gradient(curve, np.log(rates[: len(curve)]))
    return float(rates[int(slopes[: int(curve.argmin()) + 1].argmin())])


def tenth_of_minimum(rates: Numbers, curve: Numbers) -> float:
    """A tenth of the rate at the lowest point."""
    return float(rates[int(curve.argmin())] / 10)


def valley(rates: Numbers, curve: Numbers) -> float:
    """The middle of the longest falling stretch, as fastai's default has it.

    The stretch ends where the longest falling subsequence does, and is as long as that.
    """
    longest = np.ones(len(curve), int)
    for index in range(1, len(curve)):
        higher = longest[:index][curve[:index] > curve[index]]
        longest[index] = 1 + max(higher, default=0)
    end = int(longest.argmax())
    return float(rates[max(0, end - int(longest[end]) // 2)])


RULES = {"steepest": steepest, "minimum / 10": tenth_of_minimum, "valley": valley}
SMOOTHINGS = {"moving average, 0.98": moving_average, "symmetric": symmetric}


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def images(found: Record) -> dict[str, bytes]:
    """The example's."""
    return {"lr_find.png": smaller(lr_find_png(LrFindRecord.from_json(restored(found["example"]))))}


def to_markdown(found: Record) -> str:
    """All tables."""
    return "\n\n".join(tables(found).values())


def tables(found: Record) -> dict[str, str]:
    """By what they are called on the page."""
    said = summary(LrFindRecord.from_json(restored(found["example"])))
    return {
        "example": f"```\n$ adamantine lr-find --workload mnist --optimizer adam\n{said}\n```",
        "lines": indent("\n".join(said.splitlines()[:4]), "    "),
        **{f"truth on {name}": _truth(found, name) for name in found["truth"]},
        "rules": _rules(found),
        "lengths": _lengths(found),
    }


class Truth(NamedTuple):
    """What whole trainings say: the best rate, and the range that is as good to half a point."""

    rate: float
    accuracy: float
    low: float
    high: float


def truth_of(found: Record, workload: str, case: str) -> Truth:
    """Of an optimizer; a rate at which any training diverged is not good."""
    means = {rate: mean for rate, runs in found["truth"][workload][case] if (mean := _mean(runs))}
    best = max(means, key=lambda rate: means[rate])
    rates = list(means)
    low = high = rates.index(best)
    while low > 0 and means[rates[low - 1]] >= means[best] - WITHIN:
        low -= 1
    while high < len(rates) - 1 and means[rates[high + 1]] >= means[best] - WITHIN:
        high += 1
    return Truth(best, means[best], rates[low], rates[high])


def _mean(runs: Sequence[float | None]) -> float | None:
    return None if None in runs else fmean(run for run in runs if run is not None)


def inside(truth: Truth, rates: Sequence[float]) -> int:
    """How many of the rates are good."""
    return sum(truth.low <= rate <= truth.high for rate in rates)


def _truth(found: Record, workload: str) -> str:
    header = (
        "optimizer", "best accuracy", "within half a point", "suggestions", "inside",
        "accuracy with the smallest and the largest",
    )  # fmt: skip
    rows = []
    for case, searches in found["searches"][workload].items():
        truth = truth_of(found, workload, case)
        rates = [each["suggestion"] for each in searches]
        at_ends = [_mean(runs) for _, runs in found["ends"][workload][case]]
        rows.append(
            [
                label(case),
                f"{truth.accuracy:.2%} at {truth.rate:.2g}",
                f"{truth.low:.2g} to {truth.high:.2g}",
                f"{min(rates):.2g} to {max(rates):.2g}",
                f"{inside(truth, rates)} of {len(rates)}",
                ", ".join("diverged" if end is None else f"{end:.2%}" for end in at_ends),
            ]
        )
    return markdown.table(header, rows)


def label(case: str) -> str:
    """As the command is told."""
    settings = "".join(f" --{name} {value}" for name, value in CASES[case].settings.items())
    return f"`{CASES[case].optimizer}{settings}`"


def _rules(found: Record) -> str:
    sweeps = found["sweeps"]
    columns = [(case, length) for case in sweeps for length in sweeps[case]]
    header = ("read off", "smoothing", *(f"{label(case)}, {length}" for case, length in columns))
    rows = []
    for smoothing in SMOOTHINGS:
        for rule in RULES:
            cells = []
            for case, length in columns:
                rates = [each[f"{rule}, {smoothing}"] for each in sweeps[case][length]]
                good = inside(truth_of(found, next(iter(found["truth"])), case), rates)
                cells.append(f"{median(rates):.2g} ({good})")
            rows.append([rule, smoothing, *cells])
    return markdown.table(header, rows, names=2)


def _lengths(found: Record) -> str:
    lengths = found["lengths"]
    first = next(iter(lengths.values()))
    rows = []
    for case, by_steps in lengths.items():
        truth = truth_of(found, next(iter(found["truth"])), case)
        rates = [f"{by_steps[steps]['suggestion']:.2g}" for steps in first]
        rows.append([label(case), *rates, f"{truth.low:.2g} to {truth.high:.2g}"])
    return markdown.table(("steps", *first, "within half a point"), rows)
