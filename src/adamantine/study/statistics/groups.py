"""Pairs gathered into sentences: who is better than whom, and who cannot be told apart."""

from collections.abc import Iterator, Mapping, Sequence

from adamantine.records import Difference


def better_than(shown: Sequence[Difference]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Winners and losers of all shown differences, winners of the same losers together.

    Each pair of a winner and a loser of one entry is a shown difference, and each shown
    difference is in exactly one entry.
    """
    losers: dict[str, set[str]] = {}
    for pair in shown:
        if pair.better is not None:
            worse = pair.second if pair.better == pair.first else pair.first
            losers.setdefault(pair.better, set()).add(worse)
    together: dict[tuple[str, ...], list[str]] = {}
    for winner in sorted(losers):
        together.setdefault(tuple(sorted(losers[winner])), []).append(winner)
    entries = [(tuple(winners), lost) for lost, winners in together.items()]
    return sorted(entries, key=lambda entry: (-len(entry[1]), entry))


def indistinct(pairs: Sequence[Difference]) -> list[tuple[str, ...]]:
    """The largest groups whose members are all pairwise among `pairs`.

    Each pair is in at least one group (the maximal cliques; Bron and Kerbosch, 1973).
    """
    linked: dict[str, set[str]] = {}
    for pair in pairs:
        linked.setdefault(pair.first, set()).add(pair.second)
        linked.setdefault(pair.second, set()).add(pair.first)
    groups = [tuple(sorted(group)) for group in _cliques(linked, set(), set(linked), set())]
    return sorted(groups, key=lambda group: (-len(group), group))


def _cliques(
    linked: Mapping[str, set[str]], group: set[str], open_: set[str], done: set[str]
) -> Iterator[set[str]]:
    if not open_ and not done:
        if group:
            yield group
        return
    pivot = max(sorted(open_ | done), key=lambda name: len(linked[name] & open_))
    for name in sorted(open_ - linked[pivot]):
        yield from _cliques(linked, group | {name}, open_ & linked[name], done & linked[name])
        open_, done = open_ - {name}, done | {name}
