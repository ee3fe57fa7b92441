"""What a step on a GPU costs the host, with the launches left out: no GPU is needed.

Ours looks at all tensors, computes scalars and writes what it would send; its tensors lie in main
memory, and nothing is launched. Beside it, ``torch.optim``'s default on the same lists on the CPU
device: that does its arithmetic as well, most of which is small here, as it cannot be left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from unittest import mock

import torch

from benchmarks import markdown
from benchmarks.cases import Case, measure
from benchmarks.measure import MissingError
from benchmarks.peers import of_torch
from benchmarks.records import Options, Record

THREADS = 1
WARM_UP = 3


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
        warm_up = 1 if options.quick else WARM_UP
        cases = [measure("gpu_host", case, CONTENDERS, options, warm_up) for case in CASES]
    return {"threads": THREADS, "cases": cases}


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


def to_markdown(found: Record) -> str:
    """One table."""
    title = f"**Adam, one step on the host; threads: {found['threads']}**"
    return markdown.of_cases(title, found["cases"], "× Adamantine's (95 %)")
