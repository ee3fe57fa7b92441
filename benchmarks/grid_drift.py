"""What a grid does to Adam's moments: bias, noise, quiet after storm, and blocks of many scales.

Gradients are normal with a known scale for each element. Moments start from zero, as an
optimizer's do, and are rewritten in every step. The same averages in float64 are the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.grids import Floats, Grid, key

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
MIX1, MIX2 = np.float32(1 - BETA1), np.float32(1 - BETA2)
DECADES = (0, 1, 2, 3, 4, 5)
QUIETER = 30

Findings = dict[str, float]


@dataclass(frozen=True)
class Pair:
    """How both of Adam's moments are kept."""

    name: str
    first: Grid
    second: Grid


class Moments:
    """Adam's two averages on their grids, and in float64."""

    def __init__(self, pair: Pair, size: int) -> None:
        self.pair, self.time, self.at_floor = pair, 0, 0.0
        self.first, self.second = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.true_first, self.true_second = np.zeros(size), np.zeros(size)

    def step(self, grad: Floats) -> None:
        self.time += 1
        self.first += MIX1 * (grad - self.first)
        self.second += MIX2 * (grad * grad - self.second)
        self.pair.first.rewrite(self.first, key(0, self.time))
        self.at_floor = self.pair.second.rewrite(self.second, key(0, self.time))
        grad = grad.astype(np.float64)
        self.true_first += (1 - BETA1) * (grad - self.true_first)
        self.true_second += (1 - BETA2) * (grad * grad - self.true_second)

    def updates(self) -> tuple[np.ndarray, np.ndarray]:
        """m / (√v + ε) as it is kept and as it should be."""
        kept = self.first / (np.sqrt(self.second.astype(np.float64)) + EPS)
        return kept, self.true_first / (np.sqrt(self.true_second) + EPS)


def steady(pair: Pair, elements: int, steps: int) -> Findings:
    """Bias and spread under gradients of unit variance, in the last two fifths of the steps."""
    random = np.random.default_rng(0)
    moments, seen = Moments(pair, elements), []
    for step in range(steps):
        moments.step(random.standard_normal(elements, np.float32))
        if step in _looks(0.6, steps):
            first_noise = np.std(moments.first - moments.true_first) / np.std(moments.true_first)
            ratio = moments.second / moments.true_second
            bias = moments.second.mean() / moments.true_second.mean() - 1
            seen.append((bias, ratio.std(), first_noise))
    names = ("second_bias", "second_noise", "first_noise")
    return dict(zip(names, np.mean(seen, axis=0).tolist(), strict=True))


def _looks(after: float, steps: int) -> range:
    """About 20 steps of those after a share of all."""
    start = int(after * steps)
    return range(start, steps, max(1, (steps - start) // 20))


def quiet(pair: Pair, elements: int, loud_steps: int, quiet_steps: int) -> float:
    """Mean second moment against float64's, after all but one element a block went quiet."""
    random = np.random.default_rng(1)
    scale = np.full(elements, 1 / QUIETER, np.float32)
    scale[:: pair.second.block] = 1
    moments = Moments(pair, elements)
    for step in range(loud_steps + quiet_steps):
        grad = random.standard_normal(elements, np.float32)
        moments.step(grad if step < loud_steps else scale * grad)
    return float(moments.second.mean() / moments.true_second.mean())


def spread(pair: Pair, decades: int, elements: int, steps: int) -> Findings:
    """Updates and second moments where the gradients of a block lie over so many decades.

    Scales are 10 to the power of even numbers in [-decades, 0]. `gain` is the regression of the
    update on float64's, `error` the root mean square of their difference as a share of float64's.
    `low_bias` is the second moment's error among the fifth of the smallest scales, `floor` the
    share of all second moments at the lowest code.
    """
    random = np.random.default_rng(2)
    place = random.random(elements)
    scale = (10.0 ** (-decades * place)).astype(np.float32)
    low = place > 0.8
    moments, seen = Moments(pair, elements), []
    for step in range(steps):
        moments.step(scale * random.standard_normal(elements, np.float32))
        if step in _looks(0.9, steps):
            kept, true = moments.updates()
            power = np.mean(true * true)
            gain = np.mean(kept * true) / power
            error = np.sqrt(np.mean((kept - true) ** 2) / power)
            low_bias = moments.second[low].mean() / moments.true_second[low].mean() - 1
            seen.append((gain, error, low_bias, moments.at_floor))
    names = ("gain", "error", "low_bias", "floor")
    return dict(zip(names, np.mean(seen, axis=0).tolist(), strict=True))
