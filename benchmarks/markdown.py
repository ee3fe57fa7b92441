"""Samples as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.measure import quartiles, ratio_of_medians
from benchmarks.records import Record

UNITS = (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A table with its first `names` columns to the left and the others to the right."""
    rule = [":--"] * names + ["--:"] * (len(header) - names)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def contenders(case: Record) -> Iterator[tuple[str, list[float], str]]:
    """Of each contender its label, its seconds, and its time relative to the first one's."""
    seconds = {label: [ns * 1e-9 for ns in all_] for label, all_ in case["nanoseconds"].items()}
    first = next(iter(seconds.values()))
    for label, samples in seconds.items():
        yield f"`{label}`", samples, "1" if samples is first else ratio(samples, first)


def of_cases(title: str, cases: Sequence[Record], relative_to: str) -> str:
    """A table of contenders, case by case; `relative_to` heads the last column."""
    header = ("case", "optimizer", "median", "quartiles", relative_to)
    rows = [
        [case["case"], label, median(of), middle_half(of), relative]
        for case in cases
        for label, of, relative in contenders(case)
    ]
    return "\n\n".join([title, table(header, rows, names=2)])


def left_out(cases: Sequence[Record]) -> list[str]:
    """A sentence for each contender that could not take part."""
    found = {label: why for case in cases for label, why in case["left out"].items()}
    return [f"`{label}` is left out: {why}." for label, why in found.items()]


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Three digits, and the unit that suits them."""
    for unit, size in UNITS:
        if seconds < 999.5 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def median(seconds: Sequence[float]) -> str:
    """The median alone."""
    return duration(quartiles(seconds)[1])


def middle_half(seconds: Sequence[float]) -> str:
    """First to third quartile."""
    low, _, high = quartiles(seconds)
    return f"{duration(low)} – {duration(high)}"


def whole_range(seconds: Sequence[float]) -> str:
    """The median, with the smallest and the largest sample: for a handful of them."""
    if len(seconds) == 1:
        return median(seconds)
    return f"{median(seconds)} ({duration(min(seconds))} – {duration(max(seconds))})"


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> str:
    """The ratio of medians with its 95 % interval."""
    middle, low, high = ratio_of_medians(numerator, denominator)
    return f"**{number(middle)} ×** ({number(low)} – {number(high)})"


def ratio_of_means(values: Sequence[float], reference: Sequence[float]) -> str:
    """The ratio of means, and the smallest and largest of a pair: too few to resample."""
    by_pair = [mine / theirs for mine, theirs in zip(values, reference, strict=True)]
    middle = sum(values) / sum(reference)
    return f"**{middle:.4f} ×** ({min(by_pair):.4f} – {max(by_pair):.4f})"
