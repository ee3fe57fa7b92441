"""Parameters that no kernel takes: one step by lists, against ``torch.optim`` and the reference.

On the CPU device, where a call for a list is no launch but a loop over its tensors: what this shows
is how many operations a step takes, and what is spent around them. An accelerator is not measured.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch

from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.peers import of_torch, subjects
from benchmarks.records import Options, Record
from benchmarks.step import MANY_SHAPES, QUICK_ROUNDS, Shape

THREADS = 1
"""A thread more gains nothing for tensors of 1,000 elements, and would let torch wait for it."""

WARM_UP = 3


@dataclass(frozen=True)
class Case:
    """Tensors to update, and how many steps."""

    name: str
    shapes: tuple[Shape, ...]
    rounds: int


CASES = (
    Case("300 tensors × 1,000", MANY_SHAPES, 200),
    Case("one tensor of 4 Mi", ((4 * 2**20,),), 40),
)
CONTENDERS = [
    of_torch("adamantine.Adam", backend="lists"),
    of_torch("adamantine.Adam", backend="reference"),
    of_torch("torch.optim.Adam", foreach=True),
    of_torch("torch.optim.Adam", foreach=False),
]


def run(options: Options) -> Record:
    """Time all contenders on all cases."""
    torch.set_num_threads(THREADS)
    return {"threads": THREADS, "cases": [_measure(case, options) for case in CASES]}


def _measure(case: Case, options: Options) -> Record:
    print(f"lists: {case.name}", file=sys.stderr)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    found, _ = subjects(CONTENDERS, grads)
    turns = {label: subject.turn for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, WARM_UP)
        nanoseconds = interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS))
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, case.shapes)),
        "nanoseconds": nanoseconds,
    }


def to_markdown(found: Record) -> str:
    """One table."""
    header = ("case", "optimizer", "median", "quartiles", "× the lists' (95 %)")
    rows = [
        [case["case"], label, markdown.median(of), markdown.middle_half(of), relative]
        for case in found["cases"]
        for label, of, relative in markdown.contenders(case)
    ]
    title = f"**Adam, one step; threads: {found['threads']}**"
    return "\n\n".join([title, markdown.table(header, rows, names=2)])
