"""A run that is still to be done, and what tells two runs apart."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adamantine.records import TrialRun, finite


@dataclass(frozen=True)
class Task:
    """One run to do.

    Parameters
    ----------
    contestant, purpose, settings, seed
        As in :class:`~adamantine.records.TrialRun`.
    spec
        The contestant's, from which another process builds the optimizer.
    """

    contestant: str
    spec: str
    purpose: Literal["tune", "final"]
    settings: Mapping[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """Equal for equal runs, whether still to do or done and read back from JSON."""
        return _key(self.contestant, self.purpose, self.settings, self.seed)


def key_of(run: TrialRun) -> str:
    """The key of the task that `run` came from."""
    return _key(run.contestant, run.purpose, run.settings, run.seed)


def _key(contestant: str, purpose: str, settings: Mapping[str, Any], seed: int) -> str:
    return json.dumps([contestant, purpose, finite(settings), seed], sort_keys=True)
