"""Muon on the matrices of a GPT-2 small, against ``torch.optim.Muon`` and another package's.

Both iterate in bfloat16 where the processor has instructions for it. Nearly all of the time goes
into products of matrices, which are the same library's.
"""

from __future__ import annotations

import torch

from benchmarks import markdown
from benchmarks.cases import Case, measure
from benchmarks.peers import of_torch
from benchmarks.records import Options, Record
from benchmarks.step import THREADS, Shape

WARM_UP = 1


def matrices(width: int, layers: int) -> tuple[Shape, ...]:
    """Those of a GPT-2's blocks."""
    block = (3 * width, width), (width, width), (4 * width, width), (width, 4 * width)
    return block * layers


LARGE = Case("GPT-2 small, 12 blocks", matrices(768, 12), 7)
MANY = Case("256 of 64 × 64", ((64, 64),) * 256, 30)
QUICK = Case("two blocks, 32 wide", matrices(32, 2), 2)
CONTENDERS = [
    of_torch("adamantine.Muon"),
    of_torch("torch.optim.Muon"),
    of_torch("adamantine.Muon", normuon=True),
    of_torch("adamantine.Muon", ns_dtype="float32"),
]


def run(options: Options) -> Record:
    """Time all contenders on all cases."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    cases = [QUICK] if options.quick else [LARGE, MANY]
    found = [measure("matrices", case, CONTENDERS, options, WARM_UP) for case in cases]
    return {"threads": threads, "cases": found}


def to_markdown(found: Record) -> str:
    """One table."""
    title = f"**Muon, one step; threads: {found['threads']}**"
    return markdown.of_cases(title, found["cases"], "× ours (95 %)")
