"""One step of an embedding that a batch touches few rows of, against ``torch.optim.SparseAdam``.

A table of 1,000,000 × 64 in float32 and 4,096 indices a step, new ones each time, drawn evenly or
by Zipf's law (with duplicates, as the words of a text). The gradients are uncoalesced, as
``backward()`` leaves them: every optimizer has to add up duplicates itself. Needs 4 GB of memory.

"exact with attach" counts what the forward pass's hook costs, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

import adamantine
from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.records import Options, Record

THREADS = 2
ROWS, WIDTH, TOUCHED = 1_000_000, 64, 4_096
ROWS_QUICK = 20_000
ROUNDS, ROUNDS_QUICK = 120, 6
WARM_UP = 30  # pages of memory that the first steps are the first to touch
BATCHES = 16


def run(options: Options) -> Record:
    """Time lazy and exact steps on both distributions."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    rows = ROWS_QUICK if options.quick else ROWS
    cases = [_measure(name, draw(rows), rows, options) for name, draw in DISTRIBUTIONS.items()]
    return {"threads": threads, "rows": rows, "width": WIDTH, "touched": TOUCHED, "cases": cases}


def _even(rows: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randint(rows, (TOUCHED,), generator=random) for _ in range(BATCHES)]


def _zipf(rows: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    chances = 1 / torch.arange(1, rows + 1, dtype=torch.float64)
    places = torch.randperm(rows, generator=random)  # frequent rows are not neighbours
    ranks = torch.multinomial(chances, BATCHES * TOUCHED, True, generator=random)
    return list(places[ranks].split(TOUCHED))


DISTRIBUTIONS: Mapping[str, Callable[[int], list[Tensor]]] = {"even": _even, "Zipf": _zipf}

CONTENDERS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    'adamantine.Adam(sparse="lazy")': (adamantine.Adam, {"sparse": "lazy"}),
    'adamantine.Adam(sparse="exact")': (adamantine.Adam, {"sparse": "exact"}),
    'adamantine.Adam(sparse="exact"), with attach': (adamantine.Adam, {"sparse": "exact"}),
    "torch.optim.SparseAdam()": (torch.optim.SparseAdam, {}),
}


def _measure(name: str, batches: list[Tensor], rows: int, options: Options) -> Record:
    print(f"sparse: {name}", file=sys.stderr)
    values = torch.randn(TOUCHED, WIDTH, generator=torch.Generator().manual_seed(1))
    steppers = {
        label: _stepper(build, settings, batches, values, rows, attach=label.endswith("attach"))
        for label, (build, settings) in CONTENDERS.items()
    }
    with no_garbage_collection():
        interleave(steppers, 2 if options.quick else WARM_UP)
        nanoseconds = interleave(steppers, options.rounds_or(ROUNDS, ROUNDS_QUICK))
    distinct = sum(len(batch.unique()) for batch in batches) / len(batches)
    return {"case": name, "distinct": distinct, "nanoseconds": nanoseconds}


def _stepper(
    build: Callable[..., torch.optim.Optimizer],
    settings: Mapping[str, Any],
    batches: list[Tensor],
    values: Tensor,
    rows: int,
    attach: bool,
) -> Callable[[], int]:
    """A function that does a step on a table of its own and says how many ns it took."""
    table = nn.Embedding(rows, WIDTH, sparse=True)
    optimizer = build(table.parameters(), **settings)
    if attach:
        assert isinstance(optimizer, adamantine.Adam)
        optimizer.attach(table)
    hooks = list(table._forward_pre_hooks.values())
    turn = 0

    def step() -> int:
        nonlocal turn
        indices = batches[turn % BATCHES]
        turn += 1
        table.weight.grad = torch.sparse_coo_tensor(
            indices[None], values.clone(), (rows, WIDTH), check_invariants=False
        )
        start = perf_counter_ns()
        for hook in hooks:
            hook(table, (indices,), {})
        optimizer.step()
        end = perf_counter_ns()
        optimizer.zero_grad()
        return end - start

    return step


def to_markdown(found: Record) -> str:
    """One table; times relative to the lazy step."""
    title = (
        f"**A table of {found['rows']:,} × {found['width']}, {found['touched']:,} indices a step; "
        f"threads: {found['threads']}**"
    )
    header = ("indices", "optimizer", "median", "quartiles", "× lazy (95 %)")
    rows = [row for case in found["cases"] for row in _rows(case)]
    return f"{title}\n\n{markdown.table(header, rows, names=2)}"


def _rows(case: Record) -> list[list[str]]:
    return [
        [
            f"{case['case']}, {case['distinct']:,.0f} rows",
            label,
            markdown.median(samples),
            markdown.middle_half(samples),
            relative,
        ]
        for label, samples, relative in markdown.contenders(case)
    ]
