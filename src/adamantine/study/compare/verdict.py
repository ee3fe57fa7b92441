"""The verdict: sentences that say what the numbers carry, and no more.

They hold no seconds, so that the same study always has the same verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from adamantine.records import Contestant, Difference, Finding, Interval, Survival, Width
from adamantine.records.study import Quantity
from adamantine.report.curves import format_metric
from adamantine.study.compare.cautions import cautions
from adamantine.study.compare.subject import Subject
from adamantine.study.statistics.groups import better_than, indistinct
from adamantine.study.statistics.wording import (
    DECADES,
    EPOCHS,
    Scale,
    counted,
    epochs_text,
    flipped,
    listed,
    lr_text,
    scale_of,
    sentence,
)


@dataclass(frozen=True)
class _Wording:
    """How the comparison of one quantity is put into words."""

    about: Literal["speed", "final", "robustness"]
    scale: Scale
    better: str
    what: str
    seeds: str = "seed"


def verdict(study: Subject) -> tuple[Finding, ...]:
    """All sentences: speed, final metric, robustness, cost of memory, cautions.

    Contestants stand in the order of what the sentence is about, then of their names: the
    order in which they were given does not matter.
    """
    parts = (_speed, _final, _robustness, _cost, cautions)
    return tuple(finding for part in parts for finding in part(study))


def _speed(study: Subject) -> Iterator[Finding]:
    timed = [(c.name, c.epochs_to_target) for c in study.contestants]
    known = sorted(((s.mean.value, name, s) for name, s in timed if s), key=lambda k: k[:2])
    if not known:
        return
    goal = format_metric(study.metric, study.target)
    limit = epochs_text(study.epochs)
    if not any(times.reached for *_, times in known):
        yield Finding("speed", f"No contestant reached {goal} within {limit}.")
        return
    parts = []
    for index, (_, name, times) in enumerate(known):
        reaches = f"reaches {goal} " if index == 0 else ""
        parts.append(f"{name} {reaches}{_arrival(times, limit, first=index == 0)}")
    yield Finding("speed", sentence(", ".join(parts)))
    wording = _Wording("speed", EPOCHS, "faster", f"epochs to {goal}")
    yield from _compared(study, "epochs_to_target", wording)


def _arrival(times: Survival, limit: str, first: bool) -> str:
    if not times.reached:
        return f"never within {limit}"
    text = f"in {EPOCHS.value(times.mean, ' epochs' if first else '')}"
    if times.reached < times.runs:
        text += f" ({times.reached} of {times.runs} runs; the others count with {limit})"
    return text


def _final(study: Subject) -> Iterator[Finding]:
    scale = scale_of(study.metric)
    sign = -1 if study.direction == "max" else 1
    ended = [(sign * c.metric.value, c.name, c.metric) for c in study.contestants if c.metric]
    if not ended:
        return
    values = [f"{name} {scale.value(metric)}" for *_, name, metric in sorted(ended, key=_first_two)]
    yield Finding("final", f"Final {study.metric} on the test set: {', '.join(values)}.")
    wording = _Wording("final", scale, "better", f"final {study.metric}")
    yield from _compared(study, "metric", wording)


def _robustness(study: Subject) -> Iterator[Finding]:
    wide = [
        (-c.width.decades.value, c.name, c.width)
        for c in study.contestants
        if c.width and c.width.low < c.width.high  # one learning rate says nothing
    ]
    if not wide:
        return
    parts = []
    for index, (_, name, width) in enumerate(sorted(wide, key=_first_two)):
        stays = f"stays within {study.tolerance * 100:g}% of its best " if index == 0 else ""
        parts.append(f"{name} {stays}over {_decades(width, first=index == 0)}")
    yield Finding("robustness", sentence(", ".join(parts)))
    wording = _Wording(
        "robustness",
        DECADES,
        "less sensitive to the learning rate",
        "sensitivity to the learning rate",
        "tuning seed",
    )
    yield from _compared(study, "lr_width", wording)


def _decades(width: Width, first: bool) -> str:
    least = "at least " if width.open_below or width.open_above else ""
    unit = " decades of learning rates" if first else ""
    range_ = f"{lr_text(width.low)} to {lr_text(width.high)}"
    return f"{least}{DECADES.value(width.decades, unit)} ({range_})"


def _compared(study: Subject, quantity: Quantity, wording: _Wording) -> Iterator[Finding]:
    """Who is better, then who cannot be told apart, and what it would take."""
    pairs = [d for d in study.differences if d.quantity == quantity and d.difference is not None]
    shown = [pair for pair in pairs if pair.better is not None]
    for winners, losers in better_than(shown):
        are = "is" if len(winners) == 1 else "are"
        text = f"{listed(winners)} {are} {wording.better} than {listed(losers)}"
        if len(winners) == len(losers) == 1:
            text += f" by {wording.scale.difference(_lead(shown, winners[0], losers[0]))}"
        yield Finding(wording.about, sentence(text))
    rest = [pair for pair in pairs if pair.better is None]
    for group in indistinct(rest):
        inside = [pair for pair in rest if {pair.first, pair.second} <= set(group)]
        yield Finding(wording.about, _not_shown(study, group, inside, wording))


def _lead(shown: Sequence[Difference], winner: str, loser: str) -> Interval:
    """By how much the winner is ahead, without a sign."""
    pair = next(d for d in shown if {d.first, d.second} == {winner, loser})
    assert pair.difference is not None
    return flipped(pair.difference) if pair.difference.value < 0 else pair.difference


def _not_shown(
    study: Subject, group: Sequence[str], pairs: Sequence[Difference], wording: _Wording
) -> str:
    all_ = {contestant.name for contestant in study.contestants}
    among = "" if set(group) == all_ else f" between {listed(group)}"
    text = f"No difference in {wording.what}{among} could be shown"
    return f"{text} {_with(study, wording)}{_outlook(pairs, wording)}."


def _with(study: Subject, wording: _Wording) -> str:
    if wording.about == "robustness":
        count = max(len(trial.scores) for c in study.contestants for trial in c.trials)
    else:
        count = max(len(runs) for runs in study.finals.values())
    return f"with {counted(count, wording.seeds)}"


def _outlook(pairs: Sequence[Difference], wording: _Wording) -> str:
    """What would have been seen, and how many seeds would show what was seen."""
    parts = []
    unseen = [pair.detectable for pair in pairs if pair.detectable]
    if unseen:
        parts.append(
            f"a difference under {wording.scale.amount(max(unseen))} would often not be seen"
        )
    needed = [(p.seeds_needed, p.first, p.second, p) for p in pairs if p.seeds_needed is not None]
    if needed:
        count, _, _, pair = min(needed, key=lambda entry: (entry[0], sorted(entry[1:3])))
        assert pair.difference is not None
        size = wording.scale.amount(abs(pair.difference.value))
        names = f" between {listed(sorted((pair.first, pair.second)))}" if len(pairs) > 1 else ""
        parts.append(f"{_about(count)} {wording.seeds}s would show the {size} seen{names}")
    elif wording.about == "robustness" and any(p.difference and p.difference.value for p in pairs):
        parts.append("more seeds would not help, learning rates closer to each other would")
    return f" ({'; '.join(parts)})" if parts else ""


def _about(count: int) -> str:
    return "more than 1,000" if count > 1000 else f"about {count}"


def _cost(study: Subject) -> Iterator[Finding]:
    costs: dict[str, list[str]] = {}
    for contestant in sorted(study.contestants, key=_bytes_a_parameter):
        if contestant.parameters:
            costs.setdefault(f"{_bytes_a_parameter(contestant):.3g}", []).append(contestant.name)
    if costs:
        parts = [f"{listed(sorted(names))} {cost}" for cost, names in costs.items()]
        yield Finding("cost", f"Bytes of optimizer state for each parameter: {', '.join(parts)}.")


def _bytes_a_parameter(contestant: Contestant) -> float:
    return contestant.state_bytes / max(contestant.parameters, 1)


def _first_two(entry: tuple[float, str, object]) -> tuple[float, str]:
    return entry[:2]
