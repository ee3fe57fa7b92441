"""Which settings are tried next: a line search over learning rates, and draws of all else."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal

from adamantine.errors import UsageError
from adamantine.records.study import Trial
from adamantine.study.settings.contestants import Contestant
from adamantine.study.settings.space import Choice, Range, Space, rounded
from adamantine.study.statistics.trials import settings_key

MOST_DECADES = 9
"""Learning rates of the first round, at most: four decades on either side of the default."""
FINE = 0.02
"""Decades between learning rates that nobody can tell apart: 5 %."""
DRAWS = 20
"""Points a trial may take, on average, until its settings are new."""


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
    middle of the wider gap beside it; a decade down while all diverge. With `lr` in `space` there
    is one round: a range of it is divided evenly into as many learning rates as the budget has,
    and a choice is drawn like any other setting.

    Other settings in `space` stay at their defaults in the first round, where these are inside:
    learning rates compare cleanly then, and naming a space leaves the defaults among what is
    tried. Later trials, and all where `lr` is in `space`, take points of a scrambled Halton
    sequence, the same for all contestants that have the same settings in their space. Where all of
    the space, `lr` among it, are choices, they are its combinations, each option about as often.

    No settings are tried twice: points that give some again are passed over.

    Parameters
    ----------
    contestant, space
        Of one contestant, as :func:`~adamantine.study.settings.space.parse_space` returns it.
    budget
        Trials in all at most, at least 1; a budget of 1 is the default alone. There are fewer
        where the space has fewer settings, or a class takes no other learning rate.
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
    most = budget - len(done)
    if "lr" in space:
        candidates = _spread(space, budget, seed)
    elif len(done) < len(first := _decades(contestant, math.ceil(budget / 2))):
        candidates = _at_defaults(contestant, space, first, seed)
    elif most > 0 and (rate := _next_rate(contestant, done, direction)) is not None:
        points = _points(space, len(done) + DRAWS, seed)[len(done) :]
        candidates = ({"lr": rate, **point} for point in points)
        most = 1
    else:
        return []
    tried = (contestant.with_values(values) for values in candidates)
    return list(islice(_new(tried, done), max(most, 0)))


def _new(tried: Iterable[dict[str, Any]], done: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    known = {settings_key(trial.settings) for trial in done}
    for settings in tried:
        key = settings_key(settings)
        if key not in known:
            known.add(key)
            yield settings


def _spread(space: Space, budget: int, seed: int) -> Iterable[dict[str, Any]]:
    """Values all over a space that has `lr`."""
    choices = {name: values for name, values in space.items() if isinstance(values, Choice)}
    if len(choices) == len(space):
        return _combinations(choices, seed)
    if "lr" in choices:
        return _points(space, DRAWS * budget, seed)
    rates = _grid(space["lr"], budget)
    others = {name: values for name, values in space.items() if name != "lr"}
    points = _points(others, len(rates), seed)
    return ({"lr": lr, **point} for lr, point in zip(rates, points, strict=True))


def _grid(values: Range | Choice, budget: int) -> list[Any]:
    shares = [n / (budget - 1) for n in range(budget)] if budget > 1 else [0.5]
    return list(dict.fromkeys(values.at(share) for share in shares))


def _combinations(choices: dict[str, Choice], seed: int) -> Iterator[dict[str, Any]]:
    """All of them, each once, such that all options of a choice come about equally often.

    Each choice goes round through its options, and is put one further whenever it comes round
    together with the smaller choices before it: (0, 0), (1, 1), (0, 1), (1, 0) with two of two.
    """
    shuffle = random.Random(seed)
    options = {
        name: shuffle.sample(each.options, len(each.options)) for name, each in choices.items()
    }
    # The smallest first: behind a large one two small ones would long go round in step.
    ascending = sorted(options, key=lambda name: len(options[name]))
    for number in range(math.prod(map(len, options.values()))):
        values, before = {}, 1
        for name in ascending:
            count = len(options[name])
            place = number % (before * count)
            values[name] = options[name][(place + place // math.lcm(before, count)) % count]
            before *= count
        yield {name: values[name] for name in choices}


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
    # Of equals the one nearest to the default: a plateau is no reason to go elsewhere.
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


def _at_defaults(
    contestant: Contestant, space: Space, rates: Sequence[float], seed: int
) -> Iterator[dict[str, Any]]:
    """Learning rates with all else at its default, or drawn where that is outside of its range."""
    outside = [name for name in space if not _inside(contestant, name, space)]
    for lr, point in zip(rates, _points(space, len(rates), seed), strict=True):
        yield {"lr": lr, **{name: point[name] for name in outside}}


def _points(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """The first points of the Halton sequence, as values of the settings."""
    if not space:
        return [{}] * count
    from scipy.stats import qmc  # takes half a second

    points = qmc.Halton(len(space), scramble=True, rng=seed).random(count)
    return [
        {name: values.at(float(x)) for (name, values), x in zip(space.items(), point, strict=True)}
        for point in points
    ]


def _inside(contestant: Contestant, name: str, space: Space) -> bool:
    try:
        return contestant.default(name) in space[name]
    except KeyError:  # a setting that the signature does not name
        return False
