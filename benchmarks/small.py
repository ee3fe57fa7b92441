"""The steps whose time is not the update's: what comes before the kernel begins is most of them.

- The MNIST network with the caches cold: each optimizer's turn is one step, and the others have
  displaced its tensors, and its code, from the caches.
- Parameters that lie elsewhere in every step, as ``param.data = …`` leaves them (bounds on a
  parameter, clipped weights). Assigning them is not timed.

Adam at its defaults, against ``torch.optim`` and DeepSpeed's ``DeepSpeedCPUAdam``, which compiles
C++ when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import markdown
from benchmarks.cases import Case, measure
from benchmarks.peers import Contender, find_ninja, of_torch
from benchmarks.records import Options, Record
from benchmarks.step import NETWORK_SHAPES

THREADS = 2
WARM_UP = 30


def stay(_params: Sequence[Tensor]) -> None:
    """Leave them where they are."""


def move(params: Sequence[Tensor]) -> None:
    """Keep them within bounds, as people do."""
    for param in params:
        param.data = param.data.clamp(-1, 1)


@dataclass(frozen=True)
class Prepared(Case):
    """A case with what is done to its tensors before each step."""

    prepare: Callable[[Sequence[Tensor]], None]


CASES = (
    Prepared("MNIST network, caches cold", NETWORK_SHAPES, 1500, stay),
    Prepared("100 tensors × 100, `param.data = …`", ((100,),) * 100, 300, move),
    Prepared("3 tensors × 100, `param.data = …`", ((100,),) * 3, 1000, move),
)


def contenders(case: Prepared) -> list[Contender]:
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
    warm_up = 2 if options.quick else WARM_UP
    cases = [measure("small", case, contenders(case), options, warm_up) for case in CASES]
    return {"threads": threads, "cases": cases}


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
