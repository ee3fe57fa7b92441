"""Tables on pages that are written by hand otherwise.

A page marks the place with ``<!-- python -m benchmarks --pages: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import extras, formats, markdown
from benchmarks.measure import BenchmarkError
from benchmarks.records import Record, origin
from benchmarks.studies import (
    decisions,
    equals,
    lr_find,
    paper,
    pruning,
    samplers,
    searches,
    tune_example,
    which,
    words,
)
from benchmarks.studies.comparison import study_of

Records = Mapping[str, Record]
"""By the study's name."""

BLOCK = re.compile(r"(<!-- python -m benchmarks --pages: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def _claims(records: Records) -> str:
    early, late = study_of(records["claims-95"]), study_of(records["claims"])
    rows = [
        (f"{early.claims[0].claim} (to {early.target:.1%})", early.claims[0]),
        (f"{late.claims[0].claim} (to {late.target:.1%})", late.claims[0]),
        *((each.claim, each) for each in late.claims[1:]),
    ]
    cells = [
        [text, f"**{each.holds}**", each.evidence.removesuffix(" after Holm's correction")]
        for text, each in rows
    ]
    return markdown.table(("claim", "holds here", "evidence"), cells, names=3)


def _of_paper(name: str, epochs: tuple[int, ...]) -> dict[str, Callable[[Records], str]]:
    return {
        f"{name}, costs": lambda records: paper.cost_table(study_of(records[name]), epochs),
        f"{name}, pairs": lambda records: paper.pair_table(study_of(records[name]), epochs[-1]),
    }


def _of_formats(table: str) -> Callable[[Records], str]:
    return lambda records: formats.tables(records["formats"])[table]


def _of_lr_find(table: str) -> Callable[[Records], str]:
    return lambda records: lr_find.tables(records["lr-find"])[table]


def _of_which(name: str) -> Callable[[Records], str]:
    return lambda records: which.report(records[name])


FORMATS = ("8 bits", "4 bits", "speed", "training")

BLOCKS: Mapping[str, Callable[[Records], str]] = {
    "claims": _claims,
    **_of_paper("paper-logistic", (1, 2, 5, 10, 20)),
    **_of_paper("paper-dropout", (1, 2, 3)),
    **_of_paper("paper-constant", (1, 2, 3)),
    **_of_paper("paper-mlp", (1, 2, 3)),
    **{f"formats, {table}": _of_formats(table) for table in FORMATS},
    "formats, origin": lambda records: origin(records["formats"]),
    "extras, peak": lambda records: extras.peak_table(records["extras"]),
    **{
        f"lr-find, {table}": _of_lr_find(table)
        for table in ("example", "lines", "truth on mnist", "truth on digits", "rules", "lengths")
    },
    **{name: _of_which(name) for name in which.STUDIES},
    "words": lambda records: words.to_markdown(records["words"]),
    "equals": lambda records: equals.to_markdown(records["equals"]),
    "decisions": lambda records: decisions.to_markdown(records["decisions"]),
    "tune-example": lambda records: tune_example.to_markdown(records["tune-example"]),
    "samplers": lambda records: samplers.to_markdown(records["samplers"]),
    "pruning": lambda records: pruning.to_markdown(records["pruning"]),
    "searches": lambda records: searches.to_markdown(records["searches"]),
}


def written(page: str, records: Records, source: str) -> str:
    """The page with its blocks made anew.

    Raises
    ------
    BenchmarkError
        There is no such block, or no record for it.
    """

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in BLOCKS:
            raise BenchmarkError(f"{source}: no block {name!r}; expected {', '.join(BLOCKS)}")
        try:
            text = BLOCKS[name](records)
        except KeyError as missing:
            raise BenchmarkError(
                f"{source}: no record for {name!r}; run `python -m benchmarks {missing.args[0]}`"
            ) from missing
        return f"{begin}\n{text}\n\n{end}"

    return BLOCK.sub(block, page)


def pages(folder: Path) -> Iterator[Path]:
    """Those that hold blocks."""
    return (
        path
        for path in sorted(folder.rglob("*.md"))
        if BLOCK.search(path.read_text(encoding="utf-8"))
    )
