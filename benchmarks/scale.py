"""One step of sharded parameters on two processes, against ``torch.optim.AdamW`` on the same.

Parameters as ``fully_shard`` leaves them (FSDP2): DTensors, split along their first dimension, over
gloo. Either those of a small GPT-2, or a thousand small ones, where a step is overhead alone. Both
processes wait for each other before every step; the samples are the first one's. The last contender
has ordinary tensors of the sizes that each process has, and says what DTensors cost.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

import adamantine
from benchmarks import markdown
from benchmarks.measure import MissingError, interleave, no_garbage_collection
from benchmarks.records import Options, Record

PROCESSES, THREADS = 2, 1
ROUNDS, ROUNDS_QUICK = 60, 2
WARM_UP = 5

Shapes = list[tuple[int, ...]]


def gpt(width: int, layers: int, words: int) -> Shapes:
    """The parameters of a GPT-2."""
    block = [
        *((width,),) * 4,
        *((3 * width, width), (3 * width,), (width, width), (width,)),
        *((4 * width, width), (4 * width,), (width, 4 * width), (width,)),
    ]
    return [(words, width), (1_024, width), *block * layers, (width,), (width,)]


CASES: Mapping[str, Callable[[bool], Shapes]] = {
    "GPT-2, 384 wide": lambda quick: gpt(16, 1, 100) if quick else gpt(384, 12, 50_257),
    "20 × 10 each": lambda quick: [(20, 10)] * (10 if quick else 1_000),
}

CONTENDERS: Mapping[str, tuple[Any, dict[str, Any], bool]] = {
    "adamantine.AdamW()": (adamantine.AdamW, {}, True),
    "adamantine.AdamW(max_grad_norm=1.0)": (adamantine.AdamW, {"max_grad_norm": 1.0}, True),
    "torch.optim.AdamW(fused=True)": (torch.optim.AdamW, {"fused": True}, True),
    "torch.optim.AdamW(foreach=True)": (torch.optim.AdamW, {"foreach": True}, True),
    "adamantine.AdamW(), ordinary tensors": (adamantine.AdamW, {}, False),
}


def run(options: Options) -> Record:
    """Start the processes, and read what the first of them has measured."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise MissingError("this build of torch has no gloo")
    rounds = options.rounds_or(ROUNDS, ROUNDS_QUICK)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with TemporaryDirectory() as folder:
        file = Path(folder, "cases.json")
        torch.multiprocessing.spawn(_process, (port, rounds, options.quick, file), nprocs=PROCESSES)
        cases = json.loads(file.read_text(encoding="utf-8"))
    return {"processes": PROCESSES, "threads": THREADS, "cases": cases}


def _process(rank: int, port: int, rounds: int, quick: bool, file: Path) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(PROCESSES), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(THREADS)
    torch.distributed.init_process_group("gloo")
    cases = []
    for name, shapes in CASES.items():
        if rank == 0:
            print(f"scale: {name}", file=sys.stderr)
        cases.append(_measure(name, shapes(quick), rounds, 1 if quick else WARM_UP))
    if rank == 0:
        file.write_text(json.dumps(cases), encoding="utf-8")
    torch.distributed.destroy_process_group()


def _measure(name: str, shapes: Shapes, rounds: int, warm_up: int) -> Record:
    steppers = {
        label: _stepper(build, settings, shapes, sharded)
        for label, (build, settings, sharded) in CONTENDERS.items()
    }
    with no_garbage_collection():
        interleave(steppers, warm_up)
        nanoseconds = interleave(steppers, rounds)  # in the same order in all processes
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    return {
        "case": name,
        "tensors": len(shapes),
        "elements": elements,
        "nanoseconds": nanoseconds,
    }


def _stepper(
    build: Callable[..., torch.optim.Optimizer],
    settings: dict[str, Any],
    shapes: Shapes,
    sharded: bool,
) -> Callable[[], int]:
    """A function that does a step on parameters of its own and says how many ns it took."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model = nn.ParameterList([torch.randn(shape) for shape in shapes])
    mesh = torch.distributed.init_device_mesh("cpu", (PROCESSES,))
    fully_shard(model, mesh=mesh)
    params: list[Any] = list(model)
    if not sharded:
        params = [nn.Parameter(p.to_local().detach().clone()) for p in params]
    optimizer = build(params, **settings)
    local = [p.to_local().detach() if sharded else p.detach() for p in params]
    gradients = [torch.randn_like(t) for t in local]

    def gradient(param: Any, values: Tensor) -> Tensor:
        if not sharded:
            return values.clone()
        # As FSDP2 makes it, with the parameter's own description of its shards.
        found: Tensor = DTensor(values.clone(), param._spec, requires_grad=False)
        return found

    def step() -> int:
        for param, values in zip(params, gradients, strict=True):
            param.grad = gradient(param, values)
        torch.distributed.barrier()
        start = perf_counter_ns()
        optimizer.step()
        end = perf_counter_ns()
        optimizer.zero_grad()
        return end - start

    return step


def to_markdown(found: Record) -> str:
    """One table; times relative to our step on DTensors."""
    title = (
        f"**Processes: {found['processes']}, over gloo; threads in each: {found['threads']}; "
        "float32, split along the first dimension**"
    )
    header = ("parameters", "optimizer", "median", "quartiles", "× ours (95 %)")
    rows = [row for case in found["cases"] for row in _rows(case)]
    return f"{title}\n\n{markdown.table(header, rows, names=2)}"


def _rows(case: Record) -> list[list[str]]:
    return [
        [
            f"{case['tensors']:,}: {case['case']}, {case['elements']:,} elements",
            label,
            markdown.median(samples),
            markdown.middle_half(samples),
            relative,
        ]
        for label, samples, relative in markdown.contenders(case)
    ]
