"""What is not on by default, and what it costs: statistics, unscaling, steps inside of backward().

Each is timed in turns with the same program without it. The peak memory is that of a process of its
own that trains eight layers of 4096 × 4096, with one step after `backward()` and with steps inside
of it (`python -m benchmarks.extras step|in_backward` is that process). Needs 5 GB of memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter_ns

import torch
from torch import nn

import adamantine
from benchmarks import child, markdown, memory
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.records import Options, Record
from benchmarks.runs import paths

THREADS = 2
LARGE, LARGE_QUICK = 64 * 2**20, 1_000
LAYERS, WIDTH, WIDTH_QUICK = 8, 4096, 32
ROWS, ROWS_QUICK, TOUCHED = 1_000_000, 1_000, 4_096
PASSES = 4
WARM_UP = 3
PLAIN, STATS, SCALED = (
    "AdamW()",
    "AdamW(collect_stats=True)",
    "AdamW(), from a GradScaler",
)
AFTER, INSIDE = "backward(), step(), zero_grad()", "steps inside of backward()"
FLUSH = 'Adam(sparse="exact").flush()'


def run(options: Options) -> Record:
    """Time, then measure memory."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    elements = LARGE_QUICK if options.quick else LARGE
    rows = ROWS_QUICK if options.quick else ROWS
    large = {
        PLAIN: _step(elements),
        STATS: _step(elements, collect_stats=True),
        SCALED: _step(elements, scaled=True),
    }
    small = {AFTER: _backward(inside=False), INSIDE: _backward(inside=True)}
    cases = [
        ("one tensor of 64 Mi", large, options.rounds_or(30, 2)),
        ("a pass over 300 tensors × 1,000", small, options.rounds_or(300, 2)),
        (f"a table of {rows:,} × 64", {FLUSH: _flush(rows)}, options.rounds_or(20, 2)),
    ]
    found = []
    for name, steppers, rounds in cases:
        print(f"extras: {name}", file=sys.stderr)
        with no_garbage_collection():
            interleave(steppers, WARM_UP)
            found.append({"case": name, "nanoseconds": interleave(steppers, rounds)})
        steppers.clear()  # and with it the memory
    width = WIDTH_QUICK if options.quick else WIDTH
    peaks = {
        label: _peak_of(mode, width) for label, mode in ((AFTER, "step"), (INSIDE, "in_backward"))
    }
    return {"threads": threads, "cases": found, "width": width, "peak_bytes": peaks}


def _step(elements: int, scaled: bool = False, **settings: object) -> Callable[[], int]:
    param = torch.ones(elements, requires_grad=True)
    optimizer = adamantine.AdamW([param], **settings)  # type: ignore[arg-type]
    grad = torch.randn(elements, generator=torch.Generator().manual_seed(0))

    def step() -> int:
        param.grad = grad.clone()
        if scaled:  # as `GradScaler.step` does
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(0.0)
        start = perf_counter_ns()
        optimizer.step()
        end = perf_counter_ns()
        optimizer.zero_grad()
        return end - start

    return step


def _backward(inside: bool) -> Callable[[], int]:
    """A whole pass: what it costs to make the gradients is the same for both."""
    model = nn.ParameterList([torch.ones(1_000) for _ in range(300)])
    optimizer = adamantine.AdamW(model.parameters())
    stepping = optimizer.step_in_backward(model) if inside else None
    inputs = torch.randn(1_000, generator=torch.Generator().manual_seed(0))

    def step() -> int:
        assert stepping is not None or not inside  # it is alive
        loss = torch.stack([param @ inputs for param in model]).sum()
        start = perf_counter_ns()
        loss.backward()
        if not inside:
            optimizer.step()
            optimizer.zero_grad()
        return perf_counter_ns() - start

    return step


def _flush(rows: int) -> Callable[[], int]:
    table = nn.Embedding(rows, 64, sparse=True)
    optimizer = adamantine.Adam(table.parameters(), sparse="exact")
    random = torch.Generator().manual_seed(0)

    def step() -> int:
        for _ in range(3):
            table(torch.randint(rows, (TOUCHED,), generator=random)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        start = perf_counter_ns()
        optimizer.flush()
        return perf_counter_ns() - start

    return step


def _peak_of(mode: str, width: int) -> int | None:
    command = [sys.executable, "-m", "benchmarks.extras", mode, str(width)]
    found: int | None = json.loads(child.run(command, {"PYTHONPATH": paths()}).output)
    return found


def _train(mode: str, width: int) -> None:
    torch.set_num_threads(THREADS)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(LAYERS)))
    optimizer = adamantine.AdamW(model.parameters())
    stepping = optimizer.step_in_backward(model) if mode == "in_backward" else None
    for _ in range(PASSES):
        model(torch.ones(1, width)).square().mean().backward()
        if stepping is None:
            optimizer.step()
            optimizer.zero_grad()


def to_markdown(found: Record) -> str:
    """Times, then memory."""
    return f"**Threads: {found['threads']}**\n\n{_times(found)}\n\n{peak_table(found)}"


def _times(found: Record) -> str:
    header = ("case", "program", "median", "quartiles", "× the first (95 %)")
    rows = [
        [case["case"], label, markdown.median(samples), markdown.middle_half(samples), relative]
        for case in found["cases"]
        for label, samples, relative in markdown.contenders(case)
    ]
    return markdown.table(header, rows, names=2)


def peak_table(found: Record) -> str:
    """Gradients alive at once, and the whole process's peak."""
    layer = 4 * found["width"] ** 2
    alive = {AFTER: (LAYERS * layer, "all"), INSIDE: (layer, "the largest")}
    header = (
        f"eight layers of {found['width']} × {found['width']}, float32, AdamW",
        "gradients alive at once",
        "peak resident memory of the process",
    )
    rows = [
        [
            label,
            f"{alive[label][0] / 2**20:,.0f} MiB, {alive[label][1]}",
            f"{peak / 2**20:,.0f} MiB",
        ]
        for label, peak in found["peak_bytes"].items()
        if peak is not None
    ]
    return markdown.table(header, rows)


if __name__ == "__main__":
    _train(sys.argv[1], int(sys.argv[2]))
    print(json.dumps(memory.peak()))
