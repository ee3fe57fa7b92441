"""Optimizers as Python builds them: lines to paste."""

from collections.abc import Mapping
from typing import Any

OURS = "adamantine."


def call(optimizer: str, settings: Mapping[str, Any]) -> str:
    """``Adam(lr=0.0021)`` of ours, ``torch.optim.SGD(lr=0.1)`` of others'."""
    return f"{optimizer.removeprefix(OURS)}({', '.join(_given(settings))})"


def python_line(optimizer: str, settings: Mapping[str, Any]) -> str:
    """``adamantine.Adam(model.parameters(), lr=0.0021)``."""
    return f"{optimizer}({', '.join(['model.parameters()', *_given(settings)])})"


def _given(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_tuples(value)!r}" for name, value in settings.items()]


def _tuples(value: Any) -> Any:
    """JSON made lists of them."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
