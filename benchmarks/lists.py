"""Parameters that no kernel takes: one step by lists, against ``torch.optim`` and the reference.

On the CPU device, where a call for a list is no launch but a loop over its tensors: what this shows
is how many operations a step takes, and what is spent around them. An accelerator is not measured.
"""

from __future__ import annotations

import torch

from benchmarks import markdown
from benchmarks.cases import Case, measure
from benchmarks.peers import of_torch
from benchmarks.records import Options, Record
from benchmarks.step import MANY_SHAPES

THREADS = 1
"""A thread more gains nothing for tensors of 1,000 elements, and would let torch wait for it."""

WARM_UP = 3


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
    cases = [measure("lists", case, CONTENDERS, options, WARM_UP) for case in CASES]
    return {"threads": THREADS, "cases": cases}


def to_markdown(found: Record) -> str:
    """One table."""
    title = f"**Adam, one step; threads: {found['threads']}**"
    return markdown.of_cases(title, found["cases"], "× the lists' (95 %)")
