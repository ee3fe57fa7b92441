"""The README's table: ours beside the best peer of each row, from saved samples alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import markdown, precision, program, step
from benchmarks.measure import quartiles
from benchmarks.records import Record

HEADER = ("", "Adamantine", "best peer", "peer / Adamantine (95 %)")
FEWEST = 5
"""So many samples and more have an interval."""
ONE_BYTE = 2.1
"""Bytes of state a parameter, at most, of an Adam whose states are of one byte."""

Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Comparison:
    """One row: what is compared, our seconds, and every peer's."""

    what: str
    ours: Sequence[float]
    peers: Samples

    def cells(self) -> tuple[str, ...]:
        """The row, with the fastest of the peers."""
        best = min(self.peers, key=lambda name: quartiles(self.peers[name])[1])
        theirs = self.peers[best]
        ratio = markdown.ratio(theirs, self.ours)
        if len(theirs) < FEWEST:
            ratio = ratio.partition(" (")[0]
        named = f"{markdown.median(theirs)}, {best}"
        return self.what, markdown.median(self.ours), named, ratio


def table(records: Mapping[str, Record]) -> str:
    """The rows of those benchmarks whose samples are there."""
    return markdown.table(HEADER, list(rows(records)), names=1)


def rows(records: Mapping[str, Record]) -> Iterator[tuple[str, ...]]:
    """At most ten."""
    # Where `small` is saved, the network's row is its: it has more peers than `step`.
    network = "small" if "small" in records else "step"
    makers = (
        (network, _network),
        ("step", _step),
        ("precision", _precision),
        ("sparse", _sparse),
        ("program", _program),
    )
    for name, make in makers:
        if name in records:
            yield from make(records[name])


def _network(found: Record) -> Iterator[tuple[str, ...]]:
    case = found["cases"][0]
    yield _ours_first(f"Adam, {case['case']}", case["nanoseconds"])


def _step(found: Record) -> Iterator[tuple[str, ...]]:
    for case in found["cases"]:
        if case["optimizer"] == "Adam" and case["case"] in (step.SMALL[1].name, step.LARGE.name):
            yield _ours_first(f"Adam, {case['case']}", case["nanoseconds"])


def _ours_first(what: str, nanoseconds: Samples) -> tuple[str, ...]:
    seconds = {name: _seconds(samples) for name, samples in nanoseconds.items()}
    peers = {f"`{name}`": of for name, of in seconds.items() if not name.startswith("adamantine.")}
    return Comparison(what, next(iter(seconds.values())), peers).cells()


def _precision(found: Record) -> Iterator[tuple[str, ...]]:
    for case in found["steps"]:
        of = case["contenders"]
        ours = precision.OURS["int8"].label
        light = {
            f"`{name}`": _seconds(each["nanoseconds"])
            for name, each in of.items()
            if each["tensor_bytes"] <= ONE_BYTE * case["parameters"]
        }
        mine = light.pop(f"`{ours}`")
        if light and case["case"] != precision.LARGE.name:
            yield Comparison(f"Adam, 8-bit states, {case['case']}", mine, light).cells()
    for case in found["around"]:
        ours, peer = precision.OURS_AROUND["float32"].label, precision.CLIPPED.label
        mine, theirs = (_seconds(case["contenders"][name]["nanoseconds"]) for name in (ours, peer))
        what = f"Clip, Adam, zero, {case['case']}"
        peers = {f"the three calls, `{precision.FUSED.label}`": theirs}
        yield Comparison(what, mine, peers).cells()
    yield from _memory({each["name"]: each for each in found["trainings"]})


def _memory(trainings: Mapping[str, Record]) -> Iterator[tuple[str, ...]]:
    theirs, ours = "torch.optim.Adam()", 'adamantine.Adam(state_dtype="int8")'
    peaks = [trainings[name]["peak_bytes"] for name in (ours, theirs)]
    if None not in peaks:
        millions = trainings[ours]["parameters"] / 1e6
        mine, peer = (f"{peak / 2**20:,.0f} MiB" for peak in peaks)
        yield (
            f"Peak memory of training {millions:.0f} million parameters, 8-bit states",
            mine,
            f"{peer}, `{theirs}`",
            f"**{markdown.number(peaks[1] / peaks[0])} ×**",
        )


def _sparse(found: Record) -> Iterator[tuple[str, ...]]:
    what = f"Lazy sparse Adam, one table of {found['rows']:,} × {found['width']}"
    yield _ours_first(what, found["cases"][0]["nanoseconds"])


def _program(found: Record) -> Iterator[tuple[str, ...]]:
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found["samples"].items()}
    ours = seconds.pop(program.OURS)
    peers = {f"{name} program": of for name, of in seconds.items()}
    what = f"MNIST, {found['epochs']} epochs, from start to end"
    yield Comparison(what, ours, peers).cells()


def _seconds(nanoseconds: Sequence[float]) -> list[float]:
    return [ns * 1e-9 for ns in nanoseconds]
