"""A case that contenders are timed on in turn, a step with new gradients each."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.peers import Contender, subjects
from benchmarks.records import Options, Record
from benchmarks.step import QUICK_ROUNDS, Shape


@dataclass(frozen=True)
class Case:
    """Tensors to update, and how many steps."""

    name: str
    shapes: tuple[Shape, ...]
    rounds: int


def measure(
    benchmark: str, case: Case, contenders: Sequence[Contender], options: Options, warm_up: int
) -> Record:
    """The nanoseconds of each contender's steps, after so many to warm up."""
    print(f"{benchmark}: {case.name}", file=sys.stderr)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    found, left_out = subjects(contenders, grads)
    turns = {label: subject.turn for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, warm_up)
        nanoseconds = interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS))
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, case.shapes)),
        "nanoseconds": nanoseconds,
        "left out": left_out,
    }
