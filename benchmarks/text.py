"""`chars-transformer`, larger: 5 million parameters, and bytes instead of characters.

The text is all files that lie directly in Python's standard library, in the order of their names,
up to 4 MB. Every tenth file is for validation. Symbols are bytes, those that occur. The text is
another one in another version of Python, so losses compare within a machine; :func:`fingerprint`
says whether it is the same text.

    adamantine train --workload benchmarks.text:text
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from adamantine.workloads.protocol import Batch, Metric, Workload
from adamantine.workloads.text.chars import accuracy, loss
from adamantine.workloads.text.sources import read_library
from adamantine.workloads.text.transformer import Transformer

MOST_BYTES = 4_000_000
CONTEXT = 128
BATCH_SIZE = 8
STEPS_AN_EPOCH = 50
VALIDATION_WINDOWS = 128
WIDTH, LAYERS, HEAD_WIDTH = 384, 3, 64


def text(
    seed: int = 0,
    *,
    steps: int = STEPS_AN_EPOCH,
    width: int = WIDTH,
    layers: int = LAYERS,
    batch_size: int = BATCH_SIZE,
    windows: int = VALIDATION_WINDOWS,
) -> Workload:
    """The workload; `seed` draws the training windows, and an epoch has so many `steps`.

    The usual size is 5.4 million parameters and 8 × 128 bytes a step.
    """
    training, validation, symbols = read()
    return Workload(
        name="text",
        model=lambda: Transformer(symbols, width, layers, CONTEXT, HEAD_WIDTH),
        train=Windows(training, steps, batch_size, seed),
        test=spaced(validation, windows),
        loss=loss,
        metric=Metric("accuracy", accuracy),
        description="Python's standard library byte by byte: a decoder-only transformer",
    )


@cache
def read() -> tuple[Tensor, Tensor, int]:
    """Training text, validation text, and how many symbols there are."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    room = MOST_BYTES
    for index, file in enumerate(read_library()):
        content = file[:room]
        parts[index % 10 == 9].append(content)
        room -= len(content)
    both = [torch.frombuffer(bytearray().join(part), dtype=torch.uint8) for part in parts]
    symbols = torch.cat(both).unique()
    training, validation = (torch.searchsorted(symbols, part) for part in both)
    return training, validation, len(symbols)


def fingerprint() -> str:
    """Of the text: equal for equal texts."""
    digest = hashlib.sha256()
    for part in read()[:2]:
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()[:16]


def entropy() -> float:
    """Nats a symbol of the validation text, if one knows how frequent each is there and no more."""
    counts = read()[1].bincount()
    return float(torch.distributions.Categorical(counts.double()).entropy())


class Windows:
    """Batches of windows drawn at random, as many as make an epoch."""

    def __init__(self, symbols: Tensor, steps: int, batch_size: int, seed: int) -> None:
        self.symbols, self.steps, self.batch_size = symbols, steps, batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        last = len(self.symbols) - CONTEXT
        for _ in range(self.steps):
            starts = torch.randint(last, (self.batch_size,), generator=self.generator)
            yield _windows(self.symbols, starts)


def spaced(symbols: Tensor, count: int) -> list[Batch]:
    """`count` windows from all over the text, always the same, in batches."""
    starts = torch.linspace(0, len(symbols) - CONTEXT - 1, count).long()
    return [_windows(symbols, some) for some in starts.split(BATCH_SIZE)]


def _windows(symbols: Tensor, starts: Tensor) -> Batch:
    found = symbols[starts[:, None] + torch.arange(CONTEXT + 1)]
    return found[:, :-1], found[:, 1:]
