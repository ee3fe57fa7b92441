"""One step with states in main memory, where a second piece of it stands for the accelerator.

Timed is what a step costs beside the way there: gradients are copied to main memory, the update
runs, and parameters are copied back. The peers are what people build around DeepSpeed's
``DeepSpeedCPUAdam`` and torch's fused kernels, with the same two copies. torchao's
``CPUOffloadOptimizer`` asks for a GPU.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends import links
from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.memory import Held, held
from benchmarks.peers import Contender, find_ninja, subjects
from benchmarks.records import Options, Record

THREADS = 2
WARM_UP, ROUNDS, ROUNDS_QUICK = 3, 40, 2

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """Parameters on the device."""

    name: str
    shapes: Shapes
    quick: Shapes
    rounds: int


CASES = (
    Case("300 tensors × 1,000", ((1_000,),) * 300, ((1_000,),) * 10, 300),
    Case("one tensor of 64 Mi", ((64 * 2**20,),), ((1_000,),), ROUNDS),
)


class Offloaded(Protocol):
    """An optimizer over parameters on the device, with all that it holds in main memory."""

    def step(self) -> None:
        """Take the gradients, and leave the new parameters."""

    def held(self) -> int:
        """Bytes in main memory: states, copies and buffers."""


class Ours:
    """``offload=True``, told that main memory is a device."""

    def __init__(self, params: Sequence[nn.Parameter], **settings: Any) -> None:
        self._optimizer = adamantine.AdamW(params, offload=True, **settings)
        self._link = links.Blocking()

    def step(self) -> None:
        """As :class:`Offloaded` says."""
        with _main_memory_behind(self._link):
            self._optimizer.step()

    def held(self) -> int:
        """As :class:`Offloaded` says."""
        return held(self._optimizer).tensors


@contextmanager
def _main_memory_behind(link: links.Link) -> Iterator[None]:
    before = links.link_of
    links.link_of = lambda _device: link  # type: ignore[assignment]
    try:
        yield
    finally:
        links.link_of = before


class ByHand:
    """Another optimizer, over copies in main memory."""

    def __init__(self, params: Sequence[nn.Parameter], path: str, **settings: Any) -> None:
        module, _, name = path.rpartition(".")
        self._params = params
        self._hosts = [nn.Parameter(param.detach().clone()) for param in params]
        for host in self._hosts:
            host.grad = torch.empty_like(host)
        self._optimizer = getattr(importlib.import_module(module), name)(self._hosts, **settings)

    @torch.no_grad()
    def step(self) -> None:
        """As :class:`Offloaded` says."""
        for param, host in zip(self._params, self._hosts, strict=True):
            host.grad.copy_(param.grad)
        self._optimizer.step()
        for param, host in zip(self._params, self._hosts, strict=True):
            param.copy_(host)

    def held(self) -> int:
        """As :class:`Offloaded` says."""
        return held(self._optimizer).tensors + sum(2 * host.nbytes for host in self._hosts)


class Turn:
    """Parameters, an optimizer for them, and new gradients in every turn."""

    def __init__(self, grads: Sequence[Tensor], build: Any, **settings: Any) -> None:
        self._grads = grads
        self._params = [nn.Parameter(torch.ones_like(grad)) for grad in grads]
        self._optimizer: Offloaded = build(self._params, **settings)

    def turn(self) -> int:
        """Do one step; the nanoseconds of it alone."""
        for param, grad in zip(self._params, self._grads, strict=True):
            param.grad = grad.clone()
        start = perf_counter_ns()
        self._optimizer.step()
        return perf_counter_ns() - start

    def held(self) -> Held:
        """What it holds in main memory."""
        return Held(self._optimizer.held())


def contenders() -> list[Contender]:
    """Ours comes first."""

    def contender(label: str, needs: str, build: Any, **settings: Any) -> Contender:
        return Contender(label, needs, lambda grads: Turn(grads, build, **settings))

    deepspeed, torchs = "deepspeed.ops.adam.DeepSpeedCPUAdam", "torch.optim.AdamW"
    return [
        contender("adamantine.AdamW(offload=True)", "adamantine", Ours),
        contender(
            "adamantine.AdamW(offload=True, state_dtype='int8')",
            "adamantine",
            Ours,
            state_dtype="int8",
        ),
        contender(f"{deepspeed}(), copies", "deepspeed", ByHand, path=deepspeed),
        contender(f"{torchs}(fused=True), copies", "torch", ByHand, path=torchs, fused=True),
    ]


def run(options: Options) -> Record:
    """Time all contenders on all cases."""
    find_ninja()
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    return {"threads": threads, "cases": [_measure(case, options) for case in CASES]}


def _measure(case: Case, options: Options) -> Record:
    print(f"offload: {case.name}", file=sys.stderr)
    shapes = case.quick if options.quick else case.shapes
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in shapes]
    found, left_out = subjects(contenders(), grads)
    turns = {label: subject.turn for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, 1 if options.quick else WARM_UP)
        nanoseconds = interleave(turns, options.rounds_or(case.rounds, ROUNDS_QUICK))
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, shapes)),
        "nanoseconds": nanoseconds,
        "bytes": {label: subject.held().tensors for label, subject in found.items()},
        "left out": left_out,
    }


def to_markdown(found: Record) -> str:
    """One table; times relative to ours in float32."""
    header = ("parameters", "optimizer", "median", "quartiles", "bytes/parameter", "× ours (95 %)")
    rows = [row for case in found["cases"] for row in _rows(case)]
    title = f"**AdamW with states in main memory; threads: {found['threads']}**"
    parts = [title, markdown.table(header, rows, names=2)]
    parts += markdown.left_out(found["cases"])
    return "\n\n".join(parts)


def _rows(case: Record) -> list[list[str]]:
    per_parameter = [held / case["parameters"] for held in case["bytes"].values()]
    contenders = zip(markdown.contenders(case), per_parameter, strict=True)
    return [
        [
            case["case"],
            label,
            markdown.median(samples),
            markdown.middle_half(samples),
            f"{held:.2f}",
            relative,
        ]
        for (label, samples, relative), held in contenders
    ]
