"""A run in words."""

from collections.abc import Mapping
from typing import Any

from adamantine.records import TrialRun


def of_run(run: TrialRun) -> str:
    """A run by its contestant, settings and seed."""
    settings = listed({**run.settings, **run.training, "seed": run.seed})
    return f"{run.contestant} with {settings}"


def listed(settings: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
