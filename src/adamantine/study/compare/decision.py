"""What to use: the first sentence of a verdict, and the rules by which it chooses.

1. A contestant is eligible if no final run of it diverged and it has a final metric.
2. Of these, all that are not shown to be worse than another one are as good as each other.
3. Among several, the one with the least state is chosen; of equals in this, one that takes the
   fewest epochs to the target; then the one with the better mean.

Between several, the sentence says how much worse than the best one the choice may be: not shown to
be worse is not as good. With one seed nothing can be shown, and the best mean is chosen. As nowhere
in a verdict, seconds do not count, so that a repeated study comes to the same decision.
"""

from collections.abc import Sequence
from math import isfinite

from adamantine.records import Contestant, Decision, Difference, Finding, Interval
from adamantine.study.compare.subject import Subject
from adamantine.study.settings.calls import call, python_line
from adamantine.study.statistics.wording import Scale, counted, flipped, listed, scale_of, sentence

NAMED = 3
"""So many contestants are named one by one."""


def decide(study: Subject) -> tuple[Decision, Finding]:
    """The choice, and the sentence that says what to use and why."""
    eligible = [c for c in study.contestants if c.metric and not c.diverged]
    if not eligible:
        return Decision(), _nothing(study)
    tested = [d for d in study.differences if d.quantity == "metric" and d.difference is not None]
    sign = -1 if study.direction == "max" else 1
    by_mean = sorted(eligible, key=lambda c: (sign * _mean(c), c.name))
    if tested:
        beaten = {_loser(d) for d in tested if d.better}
        tied = [c for c in by_mean if c.name not in beaten]
        chosen = min(tied, key=lambda c: (c.state_bytes, _epochs(c)))  # else by_mean's order
    else:
        tied, chosen = by_mean[:1], by_mean[0]
    how = call(chosen.optimizer, chosen.settings)
    scale = scale_of(study.metric)
    if not tested:
        said = f"Use {how}: {_value(chosen, scale)}{_untested(study, eligible)}"
    elif len(tied) == 1:
        said = f"Use {how}: {_value(chosen, scale)}"
    else:
        said = f"Use {_as_good(study, chosen, tied, how)}{_at_most(study, chosen, scale)}"
    parts = [said, *_worse(study, chosen, tested, tied, scale), *_diverged(study)]
    names = tuple(sorted(c.name for c in tied))
    python = python_line(chosen.optimizer, chosen.settings)
    decision = Decision(chosen.name, names, python, study.shortfalls.get(chosen.name))
    return decision, Finding("decision", sentence("; ".join(parts)))


def _nothing(study: Subject) -> Finding:
    names = listed([c.name for c in sorted(study.contestants, key=lambda c: c.name)][:NAMED])
    who = names if len(study.contestants) <= NAMED else "every contestant"
    return Finding(
        "decision", sentence(f"Use none of these: {who} diverged, or ended without {study.metric}")
    )


def _untested(study: Subject, eligible: Sequence[Contestant]) -> str:
    if len(study.contestants) == 1:
        return "; it was compared with nothing"
    if len(eligible) == 1:
        return ""
    return "; that is the best of one seed, which cannot tell a difference from chance"


def _as_good(study: Subject, chosen: Contestant, tied: Sequence[Contestant], how: str) -> str:
    """``whichever is cheapest, SGD(lr=0.1): between … no difference could be shown …``."""
    names = sorted(c.name for c in tied)
    least = sorted(c.name for c in tied if c.state_bytes == chosen.state_bytes)
    seeds = counted(max(len(runs) for runs in study.finals.values()), "seed")
    shown = f"between {listed(names)} no difference in {study.metric} could be shown with {seeds}"
    speed = [d for d in study.differences if d.quantity == "epochs_to_target" and d.better]
    slower = sorted(_loser(d) for d in speed if d.better == chosen.name and _loser(d) in least)
    faster = sorted(d.better for d in speed if d.better in names and _loser(d) == chosen.name)
    which = "whichever is cheapest" if len(least) < len(tied) else "whichever you like"
    if len(least) == len(tied):
        shown += ", and they need the same state" if chosen.state_bytes else ", and none has state"
    else:
        needs = "needs" if len(least) == 1 else "need"
        shown += f"; {listed(least)} {needs} {'the least' if chosen.state_bytes else 'no'} state"
    if slower:
        which = "whichever is fastest" if len(least) == len(tied) else which
        shown += f"; {chosen.name} is faster than {listed(slower)}"
    if faster:
        shown += f", but {listed(faster)} {'is' if len(faster) == 1 else 'are'} faster"
    example = "" if len(least) == 1 or slower else " for instance"
    return f"{which},{example} {how}: {shown}"


def _at_most(study: Subject, chosen: Contestant, scale: Scale) -> str:
    """How large a difference may hide where none could be shown."""
    margin = study.shortfalls.get(chosen.name)
    if not margin or not isfinite(margin):
        return ""
    return f"; this choice is at most {scale.amount(margin)} worse than the best (95 % confidence)"


def _worse(
    study: Subject,
    chosen: Contestant,
    tested: Sequence[Difference],
    tied: Sequence[Contestant],
    scale: Scale,
) -> list[str]:
    """Who is worse than what is chosen and by how much; who is only worse than others."""
    own = {_loser(d): d for d in tested if d.better == chosen.name}
    parts = []
    if own:
        pair = min(own.values(), key=lambda d: abs(_lead(d).value))
        are = "is" if len(own) == 1 else "are"
        by = scale.difference(_lead(pair)) if len(own) == 1 else _at_least(pair, scale)
        parts.append(f"{_some(sorted(own))} {are} worse by {by}")
    eligible = {c.name for c in study.contestants if c.metric and not c.diverged}
    kept = {c.name for c in tied}
    if tested and (rest := sorted(eligible - kept - own.keys())):
        winner = sorted({d.better for d in tested if d.better and _loser(d) in rest})
        are = "is" if len(rest) == 1 else "are"
        parts.append(f"{_some(rest)} {are} worse than {_some(winner, 'or')}")
    return parts


def _diverged(study: Subject) -> list[str]:
    lost = sorted(c.name for c in study.contestants if c.diverged or c.metric is None)
    return [f"{_some(lost)} diverged"] if lost else []


def _some(names: Sequence[str], word: str = "and") -> str:
    return listed(names, word) if len(names) <= NAMED else counted(len(names), "other")


def _at_least(pair: Difference, scale: Scale) -> str:
    return f"{scale.amount(_lead(pair).value)} and more"


def _lead(pair: Difference) -> Interval:
    """By how much the better one is ahead, without a sign."""
    assert pair.difference is not None
    return flipped(pair.difference) if pair.difference.value < 0 else pair.difference


def _loser(pair: Difference) -> str:
    return pair.second if pair.better == pair.first else pair.first


def _mean(contestant: Contestant) -> float:
    assert contestant.metric is not None
    return contestant.metric.value


def _value(contestant: Contestant, scale: Scale) -> str:
    assert contestant.metric is not None
    return scale.value(contestant.metric)


def _epochs(contestant: Contestant) -> float:
    times = contestant.epochs_to_target
    return times.mean.value if times else float("inf")
