"""The steps whose time is not the update's: what comes before the kernel begins is most of them.

- The MNIST network with the caches cold: each optimizer's turn is one step, and the others have
  displaced its tensors, and its code, from the caches.
- Parameters that lie elsewhere in every step, as ``param.data = …`` leaves them (bounds on a
  parameter, clipped weights). Assigning them is not timed.

Adam at its defaults, against ``torch.optim`` and DeepSpeed's ``DeepSpeedCPUAdam``, which compiles
C++ when it is first used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.peers import Contender, find_ninja, of_torch, subjects
from benchmarks.records import Options, Record
from benchmarks.step import NETWORK_SHAPES, QUICK_ROUNDS, Shape

THREADS = 2
WARM_UP = 30


def stay(_params: Sequence[Tensor]) -> None:
    """Leave them where they are."""


def move(params: Sequence[Tensor]) -> None:
    """Keep them within bounds, as people do."""
    for param in params:
        param.data = param.data.clamp(-1, 1)


@dataclass(frozen=True)
class Case:
    """Tensors, what is done to them before each step, and how many steps."""

    name: str
    shapes: tuple[Shape, ...]
    prepare: Callable[[Sequence[Tensor]], None]
    rounds: int


CASES = (
    Case("MNIST network, caches cold", NETWORK_SHAPES, stay, 1500),
    Case("100 tensors × 100, `param.data = …`", ((100,),) * 100, move, 300),
    Case("3 tensors × 100, `param.data = …`", ((100,),) * 3, move, 1000),
)


def contenders(case: Case) -> list[Contender]:
    """Ours comes first."""
    paths = [
        ("adamantine.Adam", {}),
        ("adamantine.Adam", {"state_dtype": "int8"}),
        ("torch.optim.Adam", {"fused": True}),
        ("torch.optim.Adam", {"foreach": True}),
        ("torch.optim.Adam", {}),
        ("deepspeed.ops.adam.DeepSpeedCPUAdam", {"adamw_mode": False}),
    ]
    return [of_torch(path, prepare=case.prepare, **settings) for path, settings in paths]


def run(options: Options) -> Record:
    """Time all contenders on all cases."""
    find_ninja()
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    return {"threads": threads, "cases": [_measure(case, options) for case in CASES]}


def _measure(case: Case, options: Options) -> Record:
    print(f"small: {case.name}", file=sys.stderr)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    found, left_out = subjects(contenders(case), grads)
    turns = {label: subject.turn for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, 2 if options.quick else WARM_UP)
        nanoseconds = interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS))
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, case.shapes)),
        "nanoseconds": nanoseconds,
        "left out": left_out,
    }


def to_markdown(found: Record) -> str:
    """One table."""
    header = ("case", "optimizer", "median", "tenth", "× Adamantine's (95 %)")
    rows = [row for case in found["cases"] for row in _rows(case)]
    title = f"**Adam, one small step; threads: {found['threads']}**"
    parts = [title, markdown.table(header, rows, names=2)]
    parts += markdown.left_out(found["cases"])
    return "\n\n".join(parts)


def _rows(case: Record) -> list[list[str]]:
    return [
        [
            case["case"],
            label,
            markdown.median(samples),
            markdown.duration(sorted(samples)[len(samples) // 10]),
            relative,
        ]
        for label, samples, relative in markdown.contenders(case)
    ]
