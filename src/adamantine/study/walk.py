"""Which settings are tried next: a walk over learning rates, and drawn values of all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from adamantine.errors import UsageError
from adamantine.records.study import Trial
from adamantine.study.contestants import Contestant
from adamantine.study.space import Choice, Range, Space, rounded

MOST_DECADES = 9
"""Learning rates of the first round, at most: four decades on either side of the default."""
FINE = 0.02
"""Decades between learning rates that nobody can tell apart: 5 %."""


def next_trials(
    contestant: Contestant,
    space: Space,
    budget: int,
    done: Sequence[Trial],
    direction: Literal["max", "min"],
    seed: int,
) -> list[dict[str, Any]]:
    """The settings to try next, given what those tried so far have scored.

    The first half of the budget are learning rates one decade apart around the default. Then one
    at a time: a decade beyond the best if it is the smallest or the largest, else the geometric
    middle of the wider gap beside it; a decade down while all diverge. With `lr` in `space` its
    range is divided evenly into as many learning rates as the budget has, in one round.

    Other settings in `space` stay at their defaults in the first round, where these are inside:
    learning rates compare cleanly then, and naming a space leaves the defaults among what is
    tried. Later trials, and all where `lr` is in `space`, take points of a scrambled Halton
    sequence, the same for all contestants that have the same settings in their space.

    Parameters
    ----------
    contestant, space
        Of one contestant, as :func:`~adamantine.study.space.parse_space` returns it.
    budget
        Trials in all, at least 1; a budget of 1 is the default alone.
    done
        In the order they were planned.
    direction
        Of the score.
    seed
        Of the sequence.

    Returns
    -------
    All settings of the next round, less those of it that are done; empty where none are left.

    Raises
    ------
    UsageError
        If `budget` is below 1.
    """
    if budget < 1:
        raise UsageError(f"the budget is {budget}, expected at least 1 trial")
    if "lr" in space:
        first = _grid(space["lr"], budget, others=len(space) > 1)
        held = 0
    else:
        first = _decades(contestant, math.ceil(budget / 2))
        held = len(first)
    if len(done) < len(first):
        rates = first[len(done) :]
    elif len(done) >= budget or "lr" in space:
        return []
    else:
        rate = _next_rate(contestant, done, direction)
        rates = [] if rate is None else [rate]  # a class that takes no other
    return [
        contestant.with_values(
            {"lr": lr, **_others(contestant, space, number, held=number < held, seed=seed)}
        )
        for number, lr in enumerate(rates, len(done))
    ]


def _grid(values: Range | Choice, budget: int, *, others: bool) -> list[Any]:
    if isinstance(values, Range):
        shares = [n / (budget - 1) for n in range(budget)] if budget > 1 else [0.5]
        return list(dict.fromkeys(values.at(share) for share in shares))
    # Where nothing else varies, a choice is not tried twice.
    options = values.options
    return [
        options[n % len(options)] for n in range(budget if others else min(budget, len(options)))
    ]


def _decades(contestant: Contestant, count: int) -> list[float]:
    count = min(count, MOST_DECADES)
    exponents = range(-((count - 1) // 2), count // 2 + 1)
    rates = [rounded(contestant.default_lr * 10.0**exponent) for exponent in exponents]
    return [lr for lr in rates if _possible(contestant, lr)]


def _possible(contestant: Contestant, lr: float) -> bool:
    """Whether the class takes such a learning rate; a user's may have a bound."""
    return 0 < lr < math.inf and contestant.takes(contestant.with_values({"lr": lr}))


def _next_rate(contestant: Contestant, done: Sequence[Trial], direction: str) -> float | None:
    scores = _best_by_rate(done, direction)
    rates = sorted(scores)
    # Of equals the one nearest to the default: a plateau is no reason to walk away.
    best = max(rates, key=lambda lr: (scores[lr], -abs(math.log10(lr / contestant.default_lr))))
    down, up = rounded(rates[0] / 10), rounded(rates[-1] * 10)
    if scores[best] == -math.inf and _possible(contestant, down):
        return down
    # A single one is at both edges: upwards, where training is faster.
    if best == rates[-1] and _possible(contestant, up):
        return up
    if best == rates[0] and _possible(contestant, down):
        return down
    gaps = [(math.log10(high / low), low, high) for low, high in pairwise(rates)]
    if not gaps:
        return None
    beside = [gap for gap in gaps if best in gap[1:] and gap[0] > FINE] or gaps

    def preference(gap: tuple[float, float, float]) -> tuple[float, float]:
        width, low, high = gap
        # Rounded, for middles are; on equal widths the side with the better neighbour.
        return round(width, 3), scores[high] if low == best else scores[low]

    _, low, high = max(reversed(beside), key=preference)
    return rounded(math.sqrt(low * high))


def _best_by_rate(done: Sequence[Trial], direction: str) -> dict[float, float]:
    """The best score of each learning rate, larger is better; -inf where all diverged."""
    sign = 1.0 if direction == "max" else -1.0
    scores: dict[float, float] = {}
    for trial in done:
        failed = trial.score is None or math.isnan(trial.score)
        score = -math.inf if failed else sign * float(trial.score or 0.0)
        scores[trial.lr] = max(score, scores.get(trial.lr, -math.inf))
    return scores


def _others(
    contestant: Contestant, space: Space, number: int, *, held: bool, seed: int
) -> dict[str, Any]:
    """The values of trial `number` for all but the learning rate."""
    others = {name: values for name, values in space.items() if name != "lr"}
    if not others:
        return {}
    from scipy.stats import qmc  # takes half a second

    halton = qmc.Halton(len(others), scramble=True, rng=seed)
    point = halton.random(number + 1)[number]
    drawn = {
        name: values.at(float(x)) for (name, values), x in zip(others.items(), point, strict=True)
    }
    if held:
        drawn = {
            name: value for name, value in drawn.items() if not _inside(contestant, name, others)
        }
    return drawn


def _inside(contestant: Contestant, name: str, space: Space) -> bool:
    try:
        return contestant.default(name) in space[name]
    except KeyError:  # a setting that the signature does not name
        return False
