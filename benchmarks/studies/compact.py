"""Records of studies, small enough for the repository: six digits, and looks by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.records import Record

PRIVATE = ("command", "started", "machine")
"""What names paths and hosts; the benchmark's own record says these things itself."""

NONE = "stats"
"""Of runs; the record of a study never has any."""


def compact(record: Mapping[str, Any]) -> Record:
    """A study's JSON with less in it; :func:`restored` makes it readable again."""
    return {key: _small(value) for key, value in record.items() if key not in PRIVATE}


def _small(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_small(element) for element in value]
    if isinstance(value, Mapping):
        small = {key: _small(element) for key, element in value.items() if key != NONE}
        looks = small.get("looks")
        if isinstance(looks, list) and looks:
            small["looks"] = {key: [look[key] for look in looks] for key in looks[0]}
        return small
    return value


def restored(found: Mapping[str, Any]) -> Record:
    """The study's JSON."""
    return {"machine": {}, **{key: _large(value) for key, value in found.items()}}


def _large(value: Any) -> Any:
    if isinstance(value, list):
        return [_large(element) for element in value]
    if isinstance(value, Mapping):
        large = {key: _large(element) for key, element in value.items()}
        looks = large.get("looks")
        if isinstance(looks, dict):
            columns = zip(*looks.values(), strict=True)
            large["looks"] = [dict(zip(looks, column, strict=True)) for column in columns]
        return large
    return value
