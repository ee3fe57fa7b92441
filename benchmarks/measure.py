"""Interleaved timing, and what the samples say."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adamantine.errors import AdamantineError

Sample = TypeVar("Sample")

RESAMPLES = 2000
MOST_TO_PERMUTE = 4


class BenchmarkError(AdamantineError):
    """A benchmark broke off."""


class MissingError(BenchmarkError):
    """A benchmark lacks what it needs; the message is the reason."""


def interleave(
    contenders: Mapping[str, Callable[[], Sample]], rounds: int
) -> dict[str, list[Sample]]:
    """Call every contender once a round.

    The rounds go through all orders in turn: nobody is always first, and nobody always runs in
    the caches and beside the idling threads that the same other leaves behind. Where there are
    more orders than rounds could go through, they are drawn at random.
    """
    orders = _orders(list(contenders))
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _, order in zip(range(rounds), orders, strict=False):
        for name in order:
            samples[name].append(contenders[name]())
    return samples


def _orders(names: list[str]) -> Iterator[tuple[str, ...]]:
    if len(names) <= MOST_TO_PERMUTE:
        yield from cycle(permutations(names))
    random = np.random.default_rng(0)
    while True:
        yield tuple(names[index] for index in random.permutation(len(names)))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep collections, whose cost would fall on whoever runs then, out of the samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def ratio_of_medians(
    numerator: Sequence[float], denominator: Sequence[float]
) -> tuple[float, float, float]:
    """The ratio and its 95 % interval, by a moving-block bootstrap over rounds.

    Both sequences are by round, and a resample draws the same rounds from both. It draws them in
    blocks of √n, because rounds that follow each other share the machine's moods: drawn singly
    they would pass for independent, and the interval would come out too narrow.
    (Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", 1989.)
    """
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    rounds = _resampled_rounds(len(top))
    ratios = np.median(top[rounds], axis=1) / np.median(bottom[rounds], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(top) / np.median(bottom)), float(low), float(high)


def paired_difference(
    values: Sequence[float], reference: Sequence[float]
) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval, by Student's t over pairs."""
    from scipy import stats  # a GPU's machine may have torch alone

    differences = np.asarray(values, float) - np.asarray(reference, float)
    mean = float(differences.mean())
    if len(differences) == 1:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))
    return mean, mean - half, mean + half


def _resampled_rounds(count: int) -> NDArray[np.int64]:
    """``(RESAMPLES, count)``; each row indexes rounds, in blocks of neighbours."""
    length = max(1, round(count**0.5))
    blocks = -(-count // length)
    random = np.random.default_rng(0)
    starts = random.integers(0, count - length + 1, (RESAMPLES, blocks, 1))
    return (starts + np.arange(length)).reshape(RESAMPLES, -1)[:, :count]
