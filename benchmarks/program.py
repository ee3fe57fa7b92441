"""A whole training program, from its start to its end: ours against the tutorial's.

Both train the tutorial's network on MNIST with Adam, batches of 64, a learning rate of 0.001, and
test it after every epoch. The tutorial's runs as it is, with torch's own choice of threads, and
once more with one thread, which `adamantine train` chooses by itself for a network this small.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks import child, markdown
from benchmarks.measure import BenchmarkError, MissingError, interleave, quartiles
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record

SCRIPT = Path(__file__).with_name("tutorial.py")
EPOCHS, QUICK_EPOCHS = 5, 1
ROUNDS, QUICK_ROUNDS = 2, 1

OURS, THEIRS, ONE_THREAD = "`adamantine train`", "the tutorial's", "the tutorial's, one thread"

Sample = dict[str, float]


def run(options: Options) -> Record:
    """Run all programs in turn, each round with another seed."""
    folder = needs_mnist(options.data_dir)
    if find_spec("PIL") is None:
        raise MissingError("the tutorial's program needs Pillow: pip install -e '.[benchmark]'")
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    rounds = options.rounds_or(ROUNDS, QUICK_ROUNDS)
    settings = ["--epochs", str(epochs), "--batch-size", "64"]
    ours = [sys.executable, "-m", "adamantine", "train", "--workload", "mnist", *settings]
    ours += ["--data-dir", str(folder.root)]
    theirs = [sys.executable, str(SCRIPT), *settings, "--data-dir", str(folder.folder)]
    contenders = {
        OURS: _program(OURS, ours),
        THEIRS: _program(THEIRS, theirs),
        ONE_THREAD: _program(ONE_THREAD, theirs, {"OMP_NUM_THREADS": "1"}),
    }
    return {"epochs": epochs, "samples": interleave(contenders, rounds)}


def _program(
    label: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Callable[[], Sample]:
    """A function that runs the program with the next seed and reads what it printed."""
    seed = -1

    def sample() -> Sample:
        nonlocal seed
        seed += 1
        print(f"program: {label}, seed {seed}", file=sys.stderr)
        done = child.run([*command, "--seed", str(seed)], environment)
        return {
            "seconds": round(done.seconds, 3),
            "cpu_seconds": round(done.cpu_seconds, 3),
            **read_output(done.output),
        }

    return sample


def read_output(output: str) -> Sample:
    """Average loss of the first epoch and accuracy after the last, from the two lines an epoch."""
    losses = re.findall(r"^Epoch \d+, Average Loss: ([\d.]+)$", output, re.MULTILINE)
    accuracies = re.findall(r"^Test Accuracy: ([\d.]+)%$", output, re.MULTILINE)
    if not losses or not accuracies:
        raise BenchmarkError(f"expected two lines for each epoch, got {output!r}")
    return {"first_average_loss": float(losses[0]), "test_accuracy_percent": float(accuracies[-1])}


def to_markdown(found: Record) -> str:
    """A row for each program."""
    samples = found["samples"]
    ours = [sample["seconds"] for sample in samples[OURS]]
    header = ("program", "wall time", "CPU time", "× Adamantine's", "loss of epoch 1", "accuracy")
    rows = [_row(name, all_, ours) for name, all_ in samples.items()]
    title = (
        f"**MNIST, {found['epochs']} epochs, from start to end; median of {len(ours)} "
        "(smallest – largest)**"
    )
    return f"{title}\n\n{markdown.table(header, rows)}"


def _row(name: str, samples: list[Sample], ours: list[float]) -> list[str]:
    wall, cpu, loss, accuracy = (
        [sample[key] for sample in samples]
        for key in ("seconds", "cpu_seconds", "first_average_loss", "test_accuracy_percent")
    )
    return [
        name,
        markdown.whole_range(wall),
        markdown.median(cpu),
        _times(wall, ours) if name != OURS else "1",
        f"{quartiles(loss)[1]:.3f}",
        f"{quartiles(accuracy)[1]:.2f} %",
    ]


def _times(wall: list[float], ours: list[float]) -> str:
    """The ratio of medians with the smallest and largest ratio of a round: too few to resample."""
    by_round = [theirs / mine for theirs, mine in zip(wall, ours, strict=True)]
    middle = markdown.number(quartiles(wall)[1] / quartiles(ours)[1])
    if len(by_round) == 1:
        return f"**{middle} ×**"
    return f"**{middle} ×** ({markdown.number(min(by_round))} – {markdown.number(max(by_round))})"
