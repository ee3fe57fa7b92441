"""Optimizers as Python builds them: lines to paste."""

from collections.abc import Mapping
from typing import Any

from adamantine.optim.by_name import OPTIMIZERS

OURS = "adamantine."


def call(optimizer: str, settings: Mapping[str, Any]) -> str:
    """``Adam(lr=0.0021)`` of ours, ``torch.optim.SGD(lr=0.1)`` of others'."""
    return f"{optimizer.removeprefix(OURS)}({', '.join(_given(settings))})"


def python_line(optimizer: str, settings: Mapping[str, Any]) -> str:
    """``adamantine.Adam(model.parameters(), lr=0.0021)``."""
    name = optimizer.removeprefix(OURS)
    cls = None if name == optimizer else OPTIMIZERS.get(name.lower())
    of = "model" if getattr(cls, "takes_model", False) else "model.parameters()"
    return f"{optimizer}({', '.join([of, *_given(settings)])})"


def _given(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_tuples(value)!r}" for name, value in settings.items()]


def _tuples(value: Any) -> Any:
    """JSON made lists of them."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
