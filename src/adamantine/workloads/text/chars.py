"""The workloads `chars-rnn` and `chars-transformer`: the next character of Python's sources."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adamantine.workloads.protocol import Batch, Metric, Workload
from adamantine.workloads.text.sources import LIBRARY, spread, texts
from adamantine.workloads.text.transformer import Transformer

RECURRENT = f"Next character of {LIBRARY}, an LSTM of 128 units"
ATTENTIVE = f"Next character of {LIBRARY}, a transformer of 2 layers, 64 wide"

CONTEXT = 64
TRAIN_WINDOWS, HELD_OUT_WINDOWS = 18_750, 2_000

# A newline and printable ASCII have a symbol each, all other bytes have one together: as many
# for every version of Python.
KNOWN = b"\n" + bytes(range(ord(" "), ord("~") + 1))
SYMBOLS = len(KNOWN) + 1


def chars_rnn() -> Workload:
    """One LSTM layer reads 64 characters and tells each next one."""
    return _workload("chars-rnn", RECURRENT, Recurrent)


def chars_transformer() -> Workload:
    """A small GPT reads 64 characters and tells each next one."""
    return _workload("chars-transformer", ATTENTIVE, attentive)


def _workload(name: str, description: str, model: Callable[[], nn.Module]) -> Workload:
    parts = texts()
    return Workload(
        name,
        model,
        train=windows(parts.train, TRAIN_WINDOWS),
        validation=windows(parts.validation, HELD_OUT_WINDOWS),
        test=windows(parts.test, HELD_OUT_WINDOWS),
        loss=loss,
        metric=Metric("accuracy", accuracy),
        description=description,
    )


def windows(text: bytes, count: int) -> Batch:
    """`count` windows of 64 characters from all over the text, and the characters that follow.

    Two int64 tensors of shape ``(count, 64)``, the targets one character on. No two windows
    overlap.
    """
    table = torch.full((256,), SYMBOLS - 1)
    table[list(KNOWN)] = torch.arange(len(KNOWN))
    there = max(len(text) - 1, 0) // CONTEXT
    chosen = spread(there, count, f"windows of {CONTEXT} characters for one part of three")
    symbols = table[torch.frombuffer(bytearray(text), dtype=torch.uint8).long()]
    inputs, targets = (symbols[start:][: there * CONTEXT].view(-1, CONTEXT) for start in (0, 1))
    return inputs[chosen], targets[chosen]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Nats a symbol, in float32 whatever the model computes in."""
    return cross_entropy(outputs.float().flatten(0, 1), targets.flatten())


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of a window's symbols that were the likeliest."""
    return (outputs.argmax(-1) == targets).float().mean(-1)


class Recurrent(nn.Module):
    """Embedding, LSTM (Hochreiter and Schmidhuber, 1997), linear layer; 118,049 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, 64)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.head = nn.Linear(128, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """The logits of each next symbol; every window begins without memory."""
        states, _ = self.lstm(self.symbol(symbols))
        logits: Tensor = self.head(states)
        return logits


def attentive() -> nn.Module:
    """116,608 parameters."""
    return Transformer(SYMBOLS, width=64, layers=2, context=CONTEXT, head_width=32)
