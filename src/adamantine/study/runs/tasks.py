"""A run that is still to be done, and what tells two runs apart."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from adamantine.records import TrialRun, finite

ATTEMPTS = 2
"""How often a run is begun whose worker dies, by a signal, with its node, or for lack of memory."""

FRESH = 1_000
"""Final runs' seeds begin so far beyond those of tuning, so that no seed serves both."""


@dataclass(frozen=True)
class Task:
    """One run to do.

    Parameters
    ----------
    contestant, purpose, settings, seed, training
        As in :class:`~adamantine.records.TrialRun`.
    spec
        The contestant's, from which another process builds the optimizer.
    """

    contestant: str
    spec: str
    purpose: Literal["tune", "final"]
    settings: Mapping[str, Any]
    seed: int
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for equal runs, whether still to do or done and read back from JSON."""
        return _key(self)


def key_of(run: TrialRun) -> str:
    """The key of the task that `run` came from."""
    return _key(run)


def _key(of: Task | TrialRun) -> str:
    parts = [of.contestant, of.purpose, finite(of.settings), of.seed]
    if of.training:
        parts.append(finite(of.training))
    return json.dumps(parts, sort_keys=True)
