"""The workload `words-embedding`: the next word of Python's sources, from a sparse table."""

import re
from collections import Counter
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adamantine.workloads.protocol import Batch, Metric, Workload
from adamantine.workloads.sources import LIBRARY, take, texts

DESCRIPTION = f"Next word of {LIBRARY}, an embedding with sparse gradients"

CONTEXT = 4
TRAIN_EXAMPLES, HELD_OUT_EXAMPLES = 200_000, 20_000
VOCABULARY = 4_096
UNKNOWN = 0
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")


def words_embedding() -> Workload:
    """Bengio et al.'s (2003) network: four words' vectors, a hidden layer, the next word.

    A word is what Python calls a name, in code, comments and strings alike. The 4,095 words that
    the training text has most often are known, all others are one more. A batch of 64 reads some
    150 rows of the table, a few of them in every batch and most hardly ever.
    """
    parts = texts()
    train = _words(parts.train, TRAIN_EXAMPLES)
    number = numbers(train)
    return Workload(
        "words-embedding",
        Network,
        train=_examples(train, number),
        validation=_examples(_words(parts.validation, HELD_OUT_EXAMPLES), number),
        test=_examples(_words(parts.test, HELD_OUT_EXAMPLES), number),
        loss=cross_entropy,
        metric=Metric("cross-entropy", partial(cross_entropy, reduction="none"), "min"),
        description=DESCRIPTION,
    )


def numbers(words: list[bytes]) -> dict[bytes, int]:
    """Of the most frequent words from 1 on; equally frequent ones in the alphabet's order."""
    counts = Counter(words)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ordered[: VOCABULARY - 1], UNKNOWN + 1)}


def _words(text: bytes, examples: int) -> list[bytes]:
    return take(WORD.findall(text), examples + CONTEXT, "words of one part of three")


def _examples(words: list[bytes], number: dict[bytes, int]) -> Batch:
    """Four words and the one that follows, beginning with every word there is."""
    text = torch.tensor([number.get(word, UNKNOWN) for word in words])
    return text.unfold(0, CONTEXT, 1)[:-1].contiguous(), text[CONTEXT:]


class Network(nn.Module):
    """544,832 parameters, 262,144 of them in the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 64, sparse=True)
        self.hidden = nn.Linear(CONTEXT * 64, 64)
        self.head = nn.Linear(64, VOCABULARY)

    def forward(self, words: Tensor) -> Tensor:
        """The logits of the next word."""
        logits: Tensor = self.head(torch.relu(self.hidden(self.table(words).flatten(1))))
        return logits
