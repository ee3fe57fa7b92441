"""One optimizer step against ``torch.optim``, in one process, all in turn.

Every step gets new gradients, as ``zero_grad()`` and ``backward()`` leave them: new tensors at new
addresses. Making them is not timed. The large case needs 4 GB of memory.

The small cases come twice. In a training run an optimizer follows its own last step, so a turn is
50 steps. "Caches cold": a turn is one step, and the other optimizers' tensors have displaced its
own from the caches; a training run comes near this when its model does the same between steps.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor

import adamantine
from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection, quartiles
from benchmarks.records import Options, Record

THREADS = 2

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """Tensors to update, how many times a turn, and how many turns."""

    name: str
    shapes: tuple[Shape, ...]
    steps: int
    rounds: int

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return sum(map(math.prod, self.shapes))


NETWORK_SHAPES = ((128, 784), (128,), (10, 128), (10,))
MANY_SHAPES = ((1000,),) * 300
SMALL = (
    Case("MNIST network, 4 tensors", NETWORK_SHAPES, steps=50, rounds=20),
    Case("300 tensors × 1,000", MANY_SHAPES, steps=50, rounds=10),
    Case("MNIST network, caches cold", NETWORK_SHAPES, steps=1, rounds=1000),
    Case("300 tensors × 1,000, caches cold", MANY_SHAPES, steps=1, rounds=300),
)
LARGE = Case("one tensor of 64 Mi", ((64 * 2**20,),), steps=1, rounds=15)
LARGE_QUICK = Case("one tensor of 1 Mi", ((2**20,),), steps=1, rounds=15)
QUICK_ROUNDS = 6
WARM_UP = 3

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "Adam": {},
    "AdamW": {},
    "SGD": {"momentum": 0.9},
    "RMSprop": {},
}


def run(options: Options) -> Record:
    """Time Adam on all cases, and the other optimizers on the large one."""
    # On a busy machine, threads that spin for each other make a smoke run last minutes.
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    large = LARGE_QUICK if options.quick else LARGE
    plan = [("Adam", case) for case in (*SMALL, large)]
    plan += [(name, large) for name in SETTINGS if name != "Adam"]
    return {"threads": threads, "cases": [_measure(name, case, options) for name, case in plan]}


def _measure(name: str, case: Case, options: Options) -> Record:
    print(f"step: {name}, {case.name}", file=sys.stderr)
    rounds = options.rounds_or(case.rounds, QUICK_ROUNDS)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    steppers = {label: _stepper(build, case, grads) for label, build in _contenders(name).items()}
    with no_garbage_collection():
        interleave(steppers, WARM_UP)
        turns = interleave(steppers, rounds)
    return {
        "case": case.name,
        "optimizer": name,
        "parameters": case.parameters,
        "nanoseconds": {label: list(chain(*samples)) for label, samples in turns.items()},
    }


def _contenders(name: str) -> dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]]:
    """Ours, then torch's in its fused form where there is one, then torch's as people call it."""
    ours, theirs, settings = getattr(adamantine, name), getattr(torch.optim, name), SETTINGS[name]
    variants: list[tuple[str, Any, dict[str, Any]]] = [("adamantine", ours, {})]
    if "fused" in inspect.signature(theirs).parameters:
        variants.append(("torch.optim", theirs, {"fused": True}))
    variants.append(("torch.optim", theirs, {}))

    contenders = {}
    for package, optimizer, extra in variants:
        given = {**settings, **extra}
        arguments = ", ".join(f"{key}={value}" for key, value in given.items())
        contenders[f"{package}.{name}({arguments})"] = _builder(optimizer, given)
    return contenders


def _builder(
    optimizer: Callable[..., torch.optim.Optimizer], settings: Mapping[str, Any]
) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    return lambda params: optimizer(params, **settings)


def _stepper(
    build: Callable[[list[Tensor]], torch.optim.Optimizer],
    case: Case,
    grads: list[Tensor],
) -> Callable[[], list[int]]:
    """A function that does a turn on parameters of its own and says how many ns each step took."""
    params = [torch.ones(shape, requires_grad=True) for shape in case.shapes]
    optimizer = build(params)

    def step() -> int:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        start = perf_counter_ns()
        optimizer.step()
        end = perf_counter_ns()
        optimizer.zero_grad()
        return end - start

    return lambda: [step() for _ in range(case.steps)]


def to_markdown(found: Record) -> str:
    """Adam's table and the other optimizers'."""
    adam = [case for case in found["cases"] if case["optimizer"] == "Adam"]
    others = [case for case in found["cases"] if case["optimizer"] != "Adam"]
    return "\n\n".join(
        [
            f"**Adam, one step; threads: {found['threads']}**",
            _table(adam),
            f"**Other optimizers, one step; threads: {found['threads']}**",
            _table(others),
        ]
    )


def _table(cases: list[Record]) -> str:
    header = ("case", "optimizer", "median", "quartiles", "ns/parameter", "× Adamantine's (95 %)")
    return markdown.table(header, [row for case in cases for row in _rows(case)], names=2)


def _rows(case: Record) -> list[list[str]]:
    return [
        [
            case["case"],
            label,
            markdown.median(samples),
            markdown.middle_half(samples),
            markdown.number(quartiles(samples)[1] / case["parameters"] * 1e9),
            relative,
        ]
        for label, samples, relative in markdown.contenders(case)
    ]
