"""Which grid an optimizer's states should lie on: accuracy and speed of 8-bit and 4-bit formats.

Everything but speed is simulated: a table, a scale for each block and a way of rounding decide what
a format does to Adam's moments (`grid_drift`) and to a training (`grid_training`, which needs MNIST
and is left out where there is none). Takes about eight minutes, most of it training.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import torch

from adamantine import workloads
from adamantine.workloads import Workload
from benchmarks import grid_picture, grid_speed, markdown
from benchmarks.grid_drift import DECADES, Pair, quiet, spread, steady
from benchmarks.grid_training import accuracy
from benchmarks.grids import (
    Grid,
    dynamic,
    floats,
    linear_without_zero,
    mirrored,
    power_law,
    shifted_floats,
)
from benchmarks.measure import (
    MissingError,
    interleave,
    no_garbage_collection,
    paired_difference,
    quartiles,
)
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record

E4M3, E5M3, E4M4 = Grid(shifted_floats(4, 3)), Grid(floats(5, 3)), Grid(floats(4, 4))


def _dynamic(stochastic: bool, block: int) -> tuple[Grid, Grid]:
    first, second = dynamic(8, signed=True), dynamic(8, signed=False)
    return Grid(first, False, stochastic, block), Grid(second, False, stochastic, block)


def _power_laws(first: int, second: int) -> tuple[Grid, Grid]:
    return Grid(power_law(first, signed=True), power=False), Grid(power_law(second), power=False)


EIGHT = (
    Pair("E4M3 and E5M3", E4M3, E5M3),
    Pair("E4M3 and E4M4", E4M3, E4M4),
    Pair("E3M4 and E4M4", Grid(shifted_floats(3, 4)), E4M4),
    Pair("E4M3 and E6M2", E4M3, Grid(floats(6, 2))),
    Pair(
        "E4M3 and E5M3, nearest",
        Grid(E4M3.levels, stochastic=False),
        Grid(E5M3.levels, stochastic=False),
    ),
    Pair("linear", *_power_laws(1, 1)),
    Pair("power law 2", *_power_laws(2, 2)),
    Pair("power laws 2 and 4", *_power_laws(2, 4)),
    Pair("dynamic", *_dynamic(True, 256)),
    Pair("dynamic, block 2048", *_dynamic(True, 2048)),
    Pair("dynamic, nearest", *_dynamic(False, 256)),
    Pair("dynamic, nearest, block 2048", *_dynamic(False, 2048)),
    # The same but for its range: 64 powers of two are more than these experiments need.
    Pair("bfloat16", Grid(mirrored([0, *floats(6, 7)])), Grid(floats(6, 7))),
)

E4M0 = Grid(floats(4, 0), block=128)
DYNAMIC_4 = Grid(dynamic(4, signed=True), False, True, 128)
DYNAMIC_4_NEAREST = Grid(dynamic(4, signed=True), False, False, 128)
LI = Grid(linear_without_zero(4), False, False, 128)
FP4 = (0, 0.5, 1, 1.5, 2, 3, 4, 6)

FOUR = (
    Pair("E2M1 and E4M0", Grid(shifted_floats(2, 1), block=128), E4M0),
    Pair("E3M0 and E4M0", Grid(shifted_floats(3, 0), block=128), E4M0),
    Pair("FP4 and E3M1", Grid(mirrored(FP4), block=128), Grid(floats(3, 1), block=128)),
    Pair("dynamic and E4M0", DYNAMIC_4, E4M0),
    Pair("dynamic, nearest, and E4M0", DYNAMIC_4_NEAREST, E4M0),
    Pair("Li et al.: both nearest", DYNAMIC_4_NEAREST, LI),
    Pair("E4M3 in 8 bits, E4M0 in 4", E4M3, E4M0),
)

ALONE = "float32"
TRAINED = (
    "E4M3 and E5M3",
    "dynamic, nearest",
    "E2M1 and E4M0",
    "dynamic, nearest, and E4M0",
    "Li et al.: both nearest",
    "E4M3 in 8 bits, E4M0 in 4",
)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    elements: int = 4096
    steady_steps: int = 5000
    loud_steps: int = 2000
    quiet_steps: int = 1000
    spread_elements: int = 2048
    spread_steps: int = 3000
    seeds: int = 5
    epochs: int = 5
    rounds: int = 30


QUICK = Size(2048, 40, 20, 10, 2048, 40, seeds=2, epochs=1, rounds=2)
TIMED_ELEMENTS = 8192


def run(options: Options) -> Record:
    """Simulate all formats, time those of 8 bits, train with some."""
    size = QUICK if options.quick else Size()
    return {
        "size": asdict(size),
        "eight": [_simulate(pair, size) for pair in EIGHT],
        "four": [_simulate(pair, size) for pair in FOUR],
        "nanoseconds": _time(options.rounds_or(Size.rounds, QUICK.rounds)),
        "training": _train(options, size),
    }


def _simulate(pair: Pair, size: Size) -> Record:
    print(f"formats: {pair.name}", file=sys.stderr)
    return {
        "name": pair.name,
        **steady(pair, size.elements, size.steady_steps),
        "quiet": quiet(pair, size.elements, size.loud_steps, size.quiet_steps),
        "spread": [spread(pair, k, size.spread_elements, size.spread_steps) for k in DECADES],
    }


def _time(rounds: int) -> dict[str, list[float]]:
    steppers = {name: grid_speed.stepper(name, TIMED_ELEMENTS) for name in grid_speed.CODECS}
    with no_garbage_collection():
        return interleave(steppers, rounds)


def _train(options: Options, size: Size) -> Record | None:
    try:
        workload = _workload(options)
    except MissingError as reason:
        print(f"formats: no training; {reason}", file=sys.stderr)
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pairs = {pair.name: pair for pair in (*EIGHT, *FOUR)}
    trained: dict[str, Pair | None] = {ALONE: None, **{name: pairs[name] for name in TRAINED}}
    accuracies: dict[str, list[float]] = {name: [] for name in trained}
    for seed in range(size.seeds):
        for name, pair in trained.items():
            print(f"formats: training, seed {seed}, {name}", file=sys.stderr)
            accuracies[name].append(accuracy(workload, pair, seed, size.epochs))
    torch.set_num_threads(threads)
    return {"workload": workload.name, "epochs": size.epochs, "accuracy_percent": accuracies}


def _workload(options: Options) -> Workload:
    if options.quick:
        return workloads.load("digits")
    return workloads.load("mnist", needs_mnist(options.data_dir).root)


SHOWN = (1, 3, 5)
SIMULATED = (
    "format",
    "noise of m",
    "bias of v",
    "noise of v",
    "quiet: v / true v",
    *(f"update's error, {k}" for k in SHOWN),
    "at the floor, 5",
)


def to_markdown(found: Record) -> str:
    """A table of 8 bits, one of 4, and how fast and how well some train."""
    return "\n\n".join(tables(found).values())


def tables(found: Record) -> dict[str, str]:
    """By what they are about."""
    eight = (
        "**8 bits**; first and second moment, with stochastic rounding and blocks of 256 unless "
        "stated otherwise"
    )
    parts = {
        "8 bits": f"{eight}\n\n{_table(found['eight'])}",
        "4 bits": f"**4 bits**; blocks of 128\n\n{_table(found['four'])}",
        "speed": "**Decoding and encoding, in cache, one thread**\n\n"
        + _speeds(found["nanoseconds"]),
    }
    if found["training"] is not None:
        parts["training"] = _training(found["training"])
    return parts


def picture(_: Record) -> bytes:
    """The grids themselves; nothing in it was measured."""
    return grid_picture.png()


def _table(rows: list[Record]) -> str:
    return markdown.table(SIMULATED, [_row(row) for row in rows])


def _row(row: Record) -> list[str]:
    return [
        row["name"],
        _percent(row["first_noise"]),
        _percent(row["second_bias"], signed=True),
        _percent(row["second_noise"]),
        f"{row['quiet']:.3f}",
        *(_error(row["spread"][k]["error"]) for k in SHOWN),
        _percent(row["spread"][5]["floor"]),
    ]


def _percent(share: float, signed: bool = False) -> str:
    return f"{100 * share:{'+' * signed}.1f} %"


def _error(share: float) -> str:
    return _percent(share) if share < 10 else f"{share:,.0f} ×"


def _speeds(nanoseconds: dict[str, list[float]]) -> str:
    rows = [
        [name, f"{quartiles(samples)[1]:.2f} ns", f"{min(samples):.2f} ns"]
        for name, samples in nanoseconds.items()
    ]
    return markdown.table(("grid", "an element, median", "smallest"), rows)


def _training(training: Record) -> str:
    accuracies = training["accuracy_percent"]
    seeds = len(accuracies[ALONE])
    rows = [
        [name, f"{sum(mine) / seeds:.2f} %", _difference(mine, accuracies[ALONE])]
        for name, mine in accuracies.items()
    ]
    title = (
        f"**`{training['workload']}`, {training['epochs']} epochs, {seeds} seeds: test accuracy, "
        "and the mean difference from float32 with the same seed (95 %)**"
    )
    return f"{title}\n\n{markdown.table(('moments', 'accuracy', 'points'), rows)}"


def _difference(mine: list[float], theirs: list[float]) -> str:
    if mine is theirs:
        return "0"
    mean, low, high = paired_difference(mine, theirs)
    return f"{mean:+.2f} ({low:+.2f} – {high:+.2f})"
