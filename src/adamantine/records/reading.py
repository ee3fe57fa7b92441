"""JSON in and out: numbers that are not finite, and errors that name the place."""

import json
import math
from collections.abc import Mapping
from typing import Any

from adamantine.errors import CheckpointError


def finite(value: Any) -> Any:
    """`value` with every number that JSON cannot hold replaced by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [finite(element) for element in value]
    return value


def parse(text: str, source: str) -> Any:
    """``json.loads`` with an error that names `source`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} is not valid JSON: {error}") from None


def as_object(value: Any, source: str) -> dict[str, Any]:
    """`value`, which must be a JSON object."""
    if not isinstance(value, dict):
        raise CheckpointError(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value


def required(data: Mapping[str, Any], key: str, source: str) -> Any:
    """The value of a key that must be there."""
    if key not in data:
        raise CheckpointError(f"{source}: the key {key!r} is missing")
    return data[key]


def integer(data: Mapping[str, Any], key: str, source: str) -> int:
    """A key's whole number."""
    value = required(data, key, source)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(source, key, "an integer", value)
    return value


def number(data: Mapping[str, Any], key: str, source: str) -> float:
    """A key's number; NaN for null."""
    value = required(data, key, source)
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(source, key, "a number or null", value)
    try:
        return float(value)
    except OverflowError:
        raise wrong_type(source, key, "a number that float64 can hold", value) from None


def wrong_type(source: str, key: str, expected: str, value: Any) -> CheckpointError:
    """The error for a key whose value is not what was expected."""
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return CheckpointError(f"{source}: {key} is {shown}, expected {expected}")
