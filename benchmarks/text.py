"""A character transformer on a text that is on every machine: Python's own standard library.

The files that lie directly in it, in the order of their names, up to 4 MB. Every tenth file is for
validation. Symbols are bytes, those that occur. The text differs from one version of Python to
another, so losses compare within a machine; :func:`fingerprint` says whether it is the same text.

    adamantine train --workload benchmarks.text:text
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from adamantine.workloads.protocol import Batch, Metric, Workload

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
        model=lambda: Transformer(symbols, width, layers),
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
    for index, path in enumerate(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))):
        content = path.read_bytes()[:room]
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


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Nats a symbol, in float32 whatever the model computes in."""
    return cross_entropy(outputs.float().flatten(0, 1), targets.flatten())


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of a window's symbols that were the likeliest."""
    return (outputs.argmax(-1) == targets).float().mean(-1)


class Transformer(nn.Module):
    """Decoder-only, pre-norm, learned positions (GPT-2's plan: Radford et al., 2019)."""

    def __init__(self, symbols: int, width: int, layers: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.position = nn.Parameter(torch.empty(CONTEXT, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)
        nn.init.normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, symbols: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.symbol(symbols) + self.position)))


class Block(nn.Module):
    """Attention to what came before, then two linear layers; both beside a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attention(self.before_attention(x))
        return x + self.layers(self.before_layers(x))

    def _attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, -1, HEAD_WIDTH)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))
