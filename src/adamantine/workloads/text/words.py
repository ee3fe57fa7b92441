"""The workloads `words-…`: the next word of Python's sources, from a table of vectors."""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adamantine.workloads.protocol import Batch, Metric, Workload
from adamantine.workloads.text.sources import LIBRARY, spread, texts

DESCRIPTION = f"Next word of {LIBRARY}, an embedding with sparse gradients"
DENSE = f"Next word of {LIBRARY}, an embedding with dense gradients"

CONTEXT = 4
# Of the 390,000 words or so that the training text has; other versions of Python have fewer.
TRAIN_EXAMPLES, HELD_OUT_EXAMPLES = 300_000, 20_000
VOCABULARY = 1_024
WIDTH, HIDDEN = 16, 32
UNKNOWN = 0
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")


def words_embedding() -> Workload:
    """Bengio et al.'s (2003) network: four words' vectors, a hidden layer, the next word.

    A word is what Python calls a name, in code, comments and strings alike. The 1,023 words that
    the training text has most often are known, all others are one more. A batch of 64 reads some
    120 rows of the table, a few of them in every batch and most hardly ever.

    The network is as small as the text asks for, since the files that it is judged by are about
    other things than those it learns from: one with ten times the parameters overfitted from the
    second epoch on, and this one still gains in the fifth (``docs/workloads.md``).
    """
    return _workload("words-embedding", Network, DESCRIPTION)


def words_dense() -> Workload:
    """``words-embedding`` with dense gradients, which every optimizer takes."""
    return _workload("words-dense", partial(Network, sparse=False), DENSE)


def _workload(name: str, model: Callable[[], nn.Module], description: str) -> Workload:
    parts = [WORD.findall(text) for text in texts()]
    number = numbers(parts[0])
    counts = (TRAIN_EXAMPLES, HELD_OUT_EXAMPLES, HELD_OUT_EXAMPLES)
    train, validation, test = (
        examples(words, number, count) for words, count in zip(parts, counts, strict=True)
    )
    return Workload(
        name,
        model,
        train=train,
        validation=validation,
        test=test,
        loss=cross_entropy,
        metric=Metric("cross-entropy", partial(cross_entropy, reduction="none"), "min"),
        description=description,
    )


def numbers(words: list[bytes]) -> dict[bytes, int]:
    """Of the most frequent words from 1 on; equally frequent ones in the alphabet's order."""
    counts = Counter(words)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ordered[: VOCABULARY - 1], UNKNOWN + 1)}


def examples(words: list[bytes], number: dict[bytes, int], count: int) -> Batch:
    """`count` times four words and the one that follows, from all over the text."""
    there = max(len(words) - CONTEXT, 0)
    chosen = spread(there, count, "words that follow four others, for one part of three")
    text = torch.tensor([number.get(word, UNKNOWN) for word in words])
    return text.unfold(0, CONTEXT, 1)[chosen], text[CONTEXT:][chosen]


class Network(nn.Module):
    """52,256 parameters, 16,384 of them in the table."""

    def __init__(self, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH, sparse=sparse)
        self.hidden = nn.Linear(CONTEXT * WIDTH, HIDDEN)
        self.head = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, words: Tensor) -> Tensor:
        """The logits of the next word."""
        logits: Tensor = self.head(torch.relu(self.hidden(self.table(words).flatten(1))))
        return logits
