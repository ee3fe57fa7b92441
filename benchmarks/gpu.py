"""On a GPU: one step against ``torch.optim`` and against the device's copy bandwidth.

Times are the device's own, by events around each step, in turn; so is that of a copy, which reads
and writes as many bytes as a step of float32 Adam does (three tensors read and written, and the
gradient read, are seven times the parameters' bytes).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import adamantine
from benchmarks import markdown
from benchmarks.cases import Case
from benchmarks.measure import MissingError, interleave
from benchmarks.records import Options, Record
from benchmarks.step import QUICK_ROUNDS

WARM_UP = 5
PASSES = 7
"""Of the parameters' bytes: gradient, parameter and two moments read, three of these written."""

Turn = Callable[[], float]


@dataclass(frozen=True)
class OnDevice(Case):
    """A case that `needs` gigabytes of the device's memory."""

    needs: float = 1.0


CASES = (
    OnDevice("64 Mi parameters", ((64 * 2**20,),), 50, 4),
    OnDevice("1 Gi parameters", ((2**30,),), 15, 110),
    OnDevice("300 tensors × 1,000", ((1000,),) * 300, 100),
    OnDevice("10,000 tensors × 64", ((64,),) * 10_000, 30),
)
QUICK = (OnDevice("1 Mi parameters", ((2**20,),), 6), OnDevice("30 tensors × 10", ((10,),) * 30, 6))

CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamantine.Adam()": ("ours", {}),
    "adamantine.Adam(state_dtype='int8')": ("ours", {"state_dtype": "int8"}),
    "torch.optim.Adam(fused=True)": ("torch", {"fused": True}),
    "torch.optim.Adam(foreach=True)": ("torch", {"foreach": True}),
    "adamantine.Adam(max_grad_norm=1.0, zero_grad='zeros')": (
        "ours",
        {"max_grad_norm": 1.0, "zero_grad": "zeros"},
    ),
    "clip_grad_norm_, torch.optim.Adam(fused=True), zero_grad(set_to_none=False)": (
        "three calls",
        {"fused": True},
    ),
}
COPY = "a copy of as many bytes"
REPLAYED = "adamantine.Adam(capturable=True), replayed"


def run(options: Options) -> Record:
    """Time all contenders on all cases that fit."""
    if not torch.cuda.is_available():
        raise MissingError("there is no GPU here")
    device = torch.device("cuda", torch.cuda.current_device())
    memory = torch.cuda.get_device_properties(device).total_memory / 1e9
    cases = [c for c in (QUICK if options.quick else CASES) if c.needs < memory]
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cases": [_measure(case, device, options) for case in cases],
    }


def _measure(case: OnDevice, device: torch.device, options: Options) -> Record:
    print(f"gpu: {case.name}", file=sys.stderr)
    grads = [torch.randn(shape, device=device) for shape in case.shapes]
    large = len(case.shapes) == 1
    turns: dict[str, Turn] = {}
    for label, (kind, settings) in CONTENDERS.items():
        turns[label] = _stepping(kind, settings, grads, device)
    if large:
        turns[COPY] = _copying(grads[0])
    else:
        turns[REPLAYED] = _replaying(grads, device)
    interleave(turns, 2 if options.quick else WARM_UP)
    return {
        "case": case.name,
        "parameters": sum(map(math.prod, case.shapes)),
        "nanoseconds": interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS)),
    }


def _params(grads: Sequence[Tensor]) -> list[Tensor]:
    params = [torch.ones_like(grad, requires_grad=True) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad  # shared by all: only one of them is at work at a time
    return params


def _stepping(
    kind: str, settings: dict[str, Any], grads: Sequence[Tensor], device: torch.device
) -> Turn:
    params = _params(grads)
    cls = torch.optim.Adam if kind != "ours" else adamantine.Adam
    optimizer = cls(params, **settings)

    def step() -> None:
        if kind == "three calls":
            torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        if kind == "three calls":
            optimizer.zero_grad(set_to_none=False)

    return lambda: _timed(step, device)


def _copying(grad: Tensor) -> Turn:
    # A copy of n bytes reads n and writes n.
    source = grad.new_empty(PASSES * grad.numel() // 2)
    target = torch.empty_like(source)
    return lambda: _timed(lambda: target.copy_(source), grad.device)


def _replaying(grads: Sequence[Tensor], device: torch.device) -> Turn:
    """A captured step, whose learning rate changes before each replay; checked to take effect."""
    params = _params(grads)
    lr = torch.tensor(1e-3, device=device)
    optimizer = adamantine.Adam(params, lr=lr, capturable=True)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    lr.zero_()
    before = params[0].detach().clone()
    graph.replay()
    if not torch.equal(before, params[0]):
        raise RuntimeError("a replayed step did not take the learning rate of 0")
    lr.fill_(1e-3)
    return lambda: _timed(graph.replay, device)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e6


def to_markdown(found: Record) -> str:
    """One table."""
    title = f"**Adam, one step on {found['gpu']}**"
    return markdown.of_cases(title, found["cases"], "× Adamantine's (95 %)")
