"""What a step on a GPU costs the host, with the launches left out: no GPU is needed.

Ours looks at all tensors, computes scalars and writes what it would send; its tensors lie in main
memory, and nothing is launched. Beside it, ``torch.optim``'s default on the same lists on the CPU
device: that does its arithmetic as well, most of which is small here, as it cannot be left out.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from unittest import mock

import torch

from benchmarks import markdown
from benchmarks.measure import MissingError, interleave, no_garbage_collection
from benchmarks.peers import of_torch, subjects
from benchmarks.records import Options, Record
from benchmarks.step import QUICK_ROUNDS, Shape

THREADS = 1
WARM_UP = 3


@dataclass(frozen=True)
class Case:
    """Tensors to update, and how many steps."""

    name: str
    shapes: tuple[Shape, ...]
    rounds: int


CASES = (
    Case("300 tensors × 1,000", ((1000,),) * 300, 200),
    Case("10,000 tensors × 64", ((64,),) * 10_000, 30),
)
CONTENDERS = [
    of_torch("adamantine.Adam", backend="gpu"),
    of_torch("adamantine.Adam", backend="gpu", max_grad_norm=1.0),
    of_torch("adamantine.Adam", backend="gpu", max_grad_norm=1.0, skip_nonfinite=True),
    of_torch("torch.optim.Adam", foreach=True),
]


def run(options: Options) -> Record:
    """Time all contenders on all cases."""
    torch.set_num_threads(THREADS)
    with _nothing_launched():
        return {"threads": THREADS, "cases": [_measure(case, options) for case in CASES]}


@contextmanager
def _nothing_launched() -> Iterator[None]:
    if find_spec("triton") is None:
        raise MissingError("Triton is not installed (pip install triton)")
    os.environ["TRITON_INTERPRET"] = "1"  # or tensors in main memory would be refused
    from adamantine.backends.gpu.kernel import compiling, counters

    with (
        mock.patch.object(compiling.Launch, "launch"),
        mock.patch.object(counters, "_launch"),
    ):
        yield


def _measure(case: Case, options: Options) -> Record:
    print(f"gpu_host: {case.name}", file=sys.stderr)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    found, _ = subjects(CONTENDERS, grads)
    turns = {label: subject.turn for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, 1 if options.quick else WARM_UP)
        nanoseconds = interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS))
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, case.shapes)),
        "nanoseconds": nanoseconds,
    }


def to_markdown(found: Record) -> str:
    """One table."""
    header = ("case", "optimizer", "median", "quartiles", "× Adamantine's (95 %)")
    rows = [
        [case["case"], label, markdown.median(of), markdown.middle_half(of), relative]
        for case in found["cases"]
        for label, of, relative in markdown.contenders(case)
    ]
    title = f"**Adam, one step on the host; threads: {found['threads']}**"
    return "\n\n".join([title, markdown.table(header, rows, names=2)])
