"""What a search for settings tried and found: all that its report shows.

``tune.json`` holds one :class:`TuneRecord`, ``best.json`` its :class:`Best`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from adamantine.records.fields import Record
from adamantine.records.study import Difference, Finding, Interval, TrialRun


@dataclass(frozen=True)
class SearchTrial:
    """A trial of the search.

    Parameters
    ----------
    number
        Its slot, from 0.
    drawn
        What the sampler drew, by Optuna's names.
    score
        The validation metric at its end; None if it diverged or was stopped early.
    run
        Its only run.
    """

    number: int
    drawn: Mapping[str, Any]
    score: float | None
    run: TrialRun

    @property
    def outcome(self) -> Literal["finished", "pruned", "diverged", "failed"]:
        """How it ended; where its metric was no number it diverged, whatever its loss was."""
        looks = self.run.looks
        if self.run.failed:
            return "failed"
        if self.run.diverged or (looks and not math.isfinite(looks[-1].validation_metric)):
            return "diverged"
        return "pruned" if self.run.pruned else "finished"


@dataclass(frozen=True)
class Candidate:
    """A setting that the search ends with, or a contestant's defaults.

    Parameters
    ----------
    role
        ``"found"`` by the search, or a contestant's ``"defaults"``.
    contestant, settings, training
        As in :class:`~adamantine.records.TrialRun`.
    score
        The search's score, which is too good because it is the best of many. None for defaults.
    rechecks
        Validation metrics on seeds that the search did not see; None where a run diverged.
    recheck
        Their mean; None if any diverged.
    """

    role: Literal["found", "defaults"]
    contestant: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    score: float | None
    rechecks: tuple[float | None, ...]
    recheck: float | None


@dataclass(frozen=True)
class Best:
    """The recommended setting, as ``best.json`` holds it and ``train --config`` reads it.

    Parameters
    ----------
    workload, epochs, batch_size, schedule
        What it was found for; no batch size if the workload has its own batches.
    optimizer
        The contestant's spec.
    settings
        What the optimizer is built with.
    python
        A line that builds it.
    command
        The command that trains with it; empty if ``adamantine train`` does not have the optimizer
        or the workload.
    """

    workload: str
    optimizer: str
    settings: Mapping[str, Any]
    epochs: int
    batch_size: int | None
    schedule: str
    python: str
    command: str


@dataclass(frozen=True)
class TuneRecord(Record):
    """A whole search.

    Parameters
    ----------
    plan
        Everything that determines it.
    metric, direction
        Name of the workload's metric, ``"max"`` or ``"min"``.
    trials
        In the order of their numbers.
    candidates
        The best few of the search and the defaults, rechecked.
    tuned, defaults
        Which of the candidates went to the finals; `tuned` is None if no trial finished.
    tuned_metric, defaults_metric
        On the test set, over the final runs; None if one diverged or there are none.
    difference
        Tuned minus defaults, on the same seeds.
    recommended
        ``"tuned"`` only if it is shown to be better.
    best
        What is recommended.
    runs
        Rechecks and finals.
    importances
        For the tuned optimizer, the share of the trials' variance that each drawn number explains,
        largest first; empty if it cannot be determined.
    """

    NAME: ClassVar[str] = "tune"

    plan: Mapping[str, Any]
    metric: str
    direction: Literal["max", "min"]
    trials: tuple[SearchTrial, ...]
    candidates: tuple[Candidate, ...]
    tuned: Candidate | None
    defaults: Candidate
    tuned_metric: Interval | None
    defaults_metric: Interval | None
    difference: Difference | None
    recommended: Literal["tuned", "defaults"]
    best: Best
    verdict: tuple[Finding, ...]
    runs: tuple[TrialRun, ...]
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    importances: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    started: str = ""
    wall_seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def is_finalist(self, candidate: Candidate) -> bool:
        """Whether it went to the finals."""
        return candidate in (self.tuned, self.defaults)
