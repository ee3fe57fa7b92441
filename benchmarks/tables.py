"""One step of many small embeddings, as a recommender has them, against ``torch.optim``.

Each turn draws new indices, runs a forward and a backward pass of ``nn.Embedding(sparse=True)``
and times ``step()`` alone. Gradients are what ``backward()`` leaves, uncoalesced, from indices that
are drawn evenly or by Zipf's law (with many duplicates); or coalesced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import NamedTuple

import torch
from torch import Tensor, nn

import adamantine
from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection
from benchmarks.records import Options, Record

THREADS = 1  # more of them only wait for each other: no table here is work for two
WIDTH = 16
ROUNDS, ROUNDS_QUICK = 400, 4
WARM_UP = 20
BATCHES = 16


class Tables(NamedTuple):
    """How many tables, their rows, and the indices that each is given."""

    count: int
    rows: int
    indices: int

    def __str__(self) -> str:
        tables = "1 table" if self.count == 1 else f"{self.count} tables"
        return f"{tables} of {self.rows:,} × {WIDTH}, {self.indices} indices"


SIZES = (Tables(1, 1_000, 64), Tables(3, 20_000, 256), Tables(26, 5_000, 128))

Build = Callable[..., torch.optim.Optimizer]
PAIRS: Mapping[str, tuple[Build, Build]] = {
    "`SGD()`": (adamantine.SGD, torch.optim.SGD),
    "`Adagrad()`": (adamantine.Adagrad, torch.optim.Adagrad),
    '`Adam(sparse="lazy")`, `SparseAdam()`': (
        lambda params: adamantine.Adam(params, sparse="lazy"),
        torch.optim.SparseAdam,
    ),
}
OURS, TORCHS = "adamantine", "torch.optim"


def _even(tables: Tables, random: torch.Generator) -> Tensor:
    return torch.randint(tables.rows, (tables.indices,), generator=random)


def _zipf(tables: Tables, random: torch.Generator) -> Tensor:
    chances = 1 / torch.arange(1, tables.rows + 1, dtype=torch.float64)
    return torch.multinomial(chances, tables.indices, True, generator=random)


GRADIENTS: Mapping[str, tuple[Callable[[Tables, torch.Generator], Tensor], bool]] = {
    "even": (_even, False),
    "Zipf": (_zipf, False),
    "coalesced": (_even, True),
}


def run(options: Options) -> Record:
    """Time each of ours beside torch's, on every size and kind of gradient."""
    torch.set_num_threads(THREADS)
    cases = [
        _measure(tables, gradients, pair, options)
        for tables in SIZES
        for pair in PAIRS
        for gradients in GRADIENTS
    ]
    return {"threads": THREADS, "cases": cases}


def _measure(tables: Tables, gradients: str, pair: str, options: Options) -> Record:
    print(f"tables: {tables}, {gradients}, {pair}", file=sys.stderr)
    builds = dict(zip((OURS, TORCHS), PAIRS[pair], strict=True))
    steppers = {name: _stepper(build, tables, gradients) for name, build in builds.items()}
    with no_garbage_collection():
        interleave(steppers, 2 if options.quick else WARM_UP)
        nanoseconds = interleave(steppers, options.rounds_or(ROUNDS, ROUNDS_QUICK))
    return {
        "tables": str(tables),
        "optimizer": pair,
        "gradients": gradients,
        "nanoseconds": nanoseconds,
    }


def _stepper(build: Build, tables: Tables, gradients: str) -> Callable[[], int]:
    """A function that does a step on tables of its own and says how many ns it took."""
    draw, coalesced = GRADIENTS[gradients]
    random = torch.Generator().manual_seed(0)
    drawn = [[draw(tables, random) for _ in range(tables.count)] for _ in range(BATCHES)]
    modules = [nn.Embedding(tables.rows, WIDTH, sparse=True) for _ in range(tables.count)]
    optimizer = build([module.weight for module in modules])
    turn = 0

    def step() -> int:
        nonlocal turn
        losses = [m(i).square().sum() for m, i in zip(modules, drawn[turn % BATCHES], strict=True)]
        turn += 1
        torch.stack(losses).sum().backward()
        if coalesced:
            for module in modules:
                assert module.weight.grad is not None
                module.weight.grad = module.weight.grad.coalesce()
        start = perf_counter_ns()
        optimizer.step()
        end = perf_counter_ns()
        optimizer.zero_grad()
        return end - start

    return step


def to_markdown(found: Record) -> str:
    """A row for each size and optimizer, with the medians of both."""
    kinds = list(GRADIENTS)
    by_row: dict[tuple[str, str], dict[str, str]] = {}
    for case in found["cases"]:
        ours, theirs = ([ns * 1e-9 for ns in case["nanoseconds"][name]] for name in (OURS, TORCHS))
        cell = f"{markdown.median(ours)}, {markdown.median(theirs)}: {markdown.ratio(theirs, ours)}"
        by_row.setdefault((case["tables"], case["optimizer"]), {})[case["gradients"]] = cell
    header = ("tables", "optimizer", *(f"{kind}: ours, torch's" for kind in kinds))
    rows = [[*names, *(cells[kind] for kind in kinds)] for names, cells in by_row.items()]
    title = f"**One step of tables with sparse gradients; threads: {found['threads']}**"
    return f"{title}\n\n{markdown.table(header, rows, names=2)}"
