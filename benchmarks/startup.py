"""What a process pays before its second step: imports, the optimizer, the first step.

Every sample is a new process. Adamantine's comes in pairs that share a folder for compiled
kernels: it is empty for the first process, and the second finds there what the first compiled.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import child, markdown
from benchmarks.measure import interleave
from benchmarks.records import Options, Record

SCRIPT = Path(__file__).with_name("first_step.py")
ROUNDS, QUICK_ROUNDS = 7, 1

FIRST, SECOND, TORCH = (
    "`adamantine.Adam()`, first process ever: compiles",
    "`adamantine.Adam()`, every later process",
    "`torch.optim.Adam()`",
)
BEYOND = ("import the package", "build the optimizer", "first step")

Parts = dict[str, float]


def run(options: Options) -> Record:
    """Start every kind of process in turn."""
    rounds = options.rounds_or(ROUNDS, QUICK_ROUNDS)
    print(f"startup: {rounds} rounds", file=sys.stderr)
    samples = interleave({"ours": _ours, "torch": _torch}, rounds)
    by_kind = zip(
        *(ours + torch for ours, torch in zip(samples["ours"], samples["torch"], strict=True)),
        strict=True,
    )
    return {
        "seconds": {
            kind: {part: [sample[part] for sample in all_] for part in all_[0]}
            for kind, all_ in zip((FIRST, SECOND, TORCH), by_kind, strict=True)
        }
    }


def _ours() -> tuple[Parts, ...]:
    with TemporaryDirectory() as cache:
        return tuple(_process("adamantine", cache) for _ in range(2))


def _torch() -> tuple[Parts, ...]:
    return (_process("torch.optim"),)


def _process(package: str, cache: str | None = None) -> Parts:
    environment = {} if cache is None else {"NUMBA_CACHE_DIR": cache}
    done = child.run([sys.executable, str(SCRIPT), package], environment)
    parts: Parts = json.loads(done.output)
    return parts


def to_markdown(found: Record) -> str:
    """A row for each kind of process."""
    parts = next(iter(found["seconds"].values()))
    rows = []
    for kind, seconds in found["seconds"].items():
        added = [sum(parts_) for parts_ in zip(*(seconds[part] for part in BEYOND), strict=True)]
        cells = [*(seconds[part] for part in parts), added]
        rows.append([kind, *map(markdown.whole_range, cells)])
    return "\n\n".join(
        [
            "**From start to first step, the MNIST network; median (smallest – largest)**",
            markdown.table(["", *parts, "beyond importing torch"], rows),
            "Building the first of its own optimizers, torch imports `torch._dynamo`.",
        ]
    )
