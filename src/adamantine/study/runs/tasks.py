"""A run that is still to be done, what tells two runs apart, and what one is that failed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from adamantine.records import Divergence, Look, ParameterRecord, TrialRun, finite

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


def in_words(task: Task) -> str:
    """A run in words: ``adam with lr=0.01, batch_size=32 and seed 3``."""
    settings = {**task.settings, **task.training}
    given = ", ".join(f"{name}={value}" for name, value in settings.items())
    return f"{task.contestant} with {given}{' and ' if given else ''}seed {task.seed}"


def failed_run(
    task: Task,
    reason: str,
    steps: int = 0,
    looks: Sequence[Look] = (),
    stats: Sequence[Mapping[str, ParameterRecord]] = (),
) -> TrialRun:
    """A run that failed, as a result: judged as one that diverged in its last step."""
    return TrialRun(
        contestant=task.contestant,
        purpose=task.purpose,
        settings=task.settings,
        seed=task.seed,
        looks=tuple(looks),
        steps=steps,
        seconds=0.0,
        parameters=0,
        state_bytes=0,
        diverged=Divergence(steps + 1, math.nan),
        training=task.training,
        failed=reason,
        stats=tuple(stats),
    )


def _key(of: Task | TrialRun) -> str:
    parts = [of.contestant, of.purpose, finite(of.settings), of.seed]
    if of.training:
        parts.append(finite(of.training))
    return json.dumps(parts, sort_keys=True)
