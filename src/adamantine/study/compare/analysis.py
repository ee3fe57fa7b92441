"""From raw runs to everything that a study says: pure functions of records."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from adamantine.records import (
    Claim,
    Contestant,
    Decision,
    Difference,
    Finding,
    Interval,
    Survival,
    Trial,
    TrialRun,
)
from adamantine.study.compare.claims import claims
from adamantine.study.compare.decision import decide
from adamantine.study.compare.subject import Subject
from adamantine.study.compare.verdict import verdict
from adamantine.study.statistics.best import shortfalls
from adamantine.study.statistics.intervals import mean_interval, rounding_variance
from adamantine.study.statistics.pairs import Sample, compare
from adamantine.study.statistics.robustness import Robustness, robustness
from adamantine.study.statistics.survival import Arrival, arrival, survival, worst_best
from adamantine.study.statistics.trials import (
    Criterion,
    Direction,
    choose,
    score_direction,
    settings_key,
    trial_of,
)
from adamantine.study.statistics.wording import counted

TOLERANCE = 0.01


@dataclass(frozen=True)
class ContestantRuns:
    """All that was measured of one contestant.

    Parameters
    ----------
    name, spec, optimizer
        As in :class:`adamantine.records.Contestant`.
    tried
        The settings of its trials and their learning rates, in the order they were planned.
    runs
        Its tuning runs, found by the settings, and its final runs; in any order.
    """

    name: str
    spec: str
    optimizer: str
    tried: Sequence[tuple[Mapping[str, Any], float]]
    runs: Sequence[TrialRun]

    @property
    def finals(self) -> list[TrialRun]:
        """By seed."""
        return _by_seed(run for run in self.runs if run.purpose == "final")

    def trials(self, tune_for: Criterion) -> tuple[Trial, ...]:
        """Each setting with the scores of its runs, by seed; of equal runs the first counts."""
        runs: dict[str, dict[int, TrialRun]] = {}
        for run in self.runs:
            if run.purpose == "tune":
                runs.setdefault(settings_key(run.settings), {}).setdefault(run.seed, run)
        return tuple(
            trial_of(
                settings, lr, _by_seed(runs.get(settings_key(settings), {}).values()), tune_for
            )
            for settings, lr in self.tried
        )


@dataclass(frozen=True)
class Analysis:
    """The fields of :class:`adamantine.records.StudyRecord` that follow from runs."""

    target: float
    target_source: Literal["given", "worst"]
    contestants: tuple[Contestant, ...]
    differences: tuple[Difference, ...]
    verdict: tuple[Finding, ...]
    claims: tuple[Claim, ...]
    decision: Decision


@dataclass(frozen=True)
class _Budget:
    """What each final run was given; ``look`` is the time between two looks, in epochs."""

    epochs: float
    steps: float
    look: float
    seconds: float


def analyse(
    plan: Mapping[str, Any],
    metric: str,
    direction: Direction,
    contestants: Sequence[ContestantRuns],
    resolution: float = 0.0,
) -> Analysis:
    """Everything that a study says, from its runs.

    Parameters
    ----------
    plan
        Of it are read ``epochs``, ``target`` (None: the worst contestant's best validation
        score), ``tune_for``, ``tolerance`` and ``seed`` (of the bootstrap).
    metric, direction
        Of the workload.
    contestants
        With unique names. Their order is that of the result, and decides no figure.
    resolution
        In what steps the test metric moves: one divided by the number of test examples for a
        share of them, 0 for a metric that takes any value.
    """
    finals = {contestant.name: contestant.finals for contestant in contestants}
    given = plan.get("target")
    target = worst_best(list(finals.values()), direction) if given is None else float(given)
    tune_for: Criterion = plan.get("tune_for") or "metric"
    tolerance = float(plan.get("tolerance") or TOLERANCE)
    seed = int(plan.get("seed") or 0)
    budget = _budget(float(plan["epochs"]), [run for runs in finals.values() for run in runs])

    bounds = (0.0, 1.0) if resolution else (-math.inf, math.inf)  # a share of the examples
    found, samples = [], []
    for contestant in contestants:
        trials = contestant.trials(tune_for)
        width = robustness(trials, score_direction(tune_for, direction), tolerance, seed)
        chosen = choose(trials, tune_for, direction)
        record = _contestant(contestant, trials, chosen, width, target, direction, budget, bounds)
        found.append(record)
        samples.append(
            (
                _metrics(record, finals[contestant.name], metric, resolution),
                _times(record, finals[contestant.name], target, direction, budget),
                _widths(record, width),
            )
        )
    by_metric, by_time, by_width = ([sample[index] for sample in samples] for index in range(3))
    differences = (
        *compare(by_metric, "metric", direction),
        *compare(by_time, "epochs_to_target", "min"),
        *compare(by_width, "lr_width", "max"),
    )
    subject = Subject(
        metric,
        direction,
        target,
        budget.epochs,
        tolerance,
        found,
        differences,
        finals,
        shortfalls(by_metric, direction),
    )
    decision, sentence = decide(subject)
    return Analysis(
        target=target,
        target_source="worst" if given is None else "given",
        contestants=tuple(found),
        differences=differences,
        verdict=(sentence, *verdict(subject)),
        claims=claims(subject),
        decision=decision,
    )


def _budget(epochs: float, finals: Sequence[TrialRun]) -> _Budget:
    """Steps and looks of a run that finished; where none did, what diverged runs got to."""
    ended = [run for run in finals if run.diverged is None] or finals
    steps = max((float(run.steps) for run in ended), default=0.0)
    looks = max((len(run.looks) for run in ended), default=0)
    return _Budget(
        epochs=epochs,
        steps=steps,
        look=epochs / max(looks, 1),
        seconds=min((_seconds(run, steps) for run in finals), default=0.0),
    )


def _seconds(run: TrialRun, steps: float) -> float:
    """How long the run took; one that diverged, how long it would have taken."""
    if run.diverged is None or run.steps == 0:
        return run.seconds
    return run.seconds / run.steps * steps


def _contestant(
    contestant: ContestantRuns,
    trials: tuple[Trial, ...],
    chosen: Trial | None,
    width: Robustness | None,
    target: float,
    direction: Direction,
    budget: _Budget,
    bounds: tuple[float, float],
) -> Contestant:
    finals = contestant.finals

    def reached(clock: str, limit: float, ends: Sequence[float]) -> Survival | None:
        times = _arrivals(finals, target, direction, clock, ends)
        return survival(times, limit) if times else None

    steps, epochs = [budget.steps] * len(finals), [budget.epochs] * len(finals)
    seconds = [_seconds(run, budget.steps) for run in finals]
    paces = [run.seconds / run.steps for run in contestant.runs if run.steps]
    return Contestant(
        name=contestant.name,
        spec=contestant.spec,
        optimizer=contestant.optimizer,
        settings=chosen.settings if chosen else {},
        trials=trials,
        metric=_mean((run.test_metric for run in finals), *bounds),
        loss=_mean(run.test_loss for run in finals),
        epochs_to_target=reached("epoch", budget.epochs, epochs),
        steps_to_target=reached("step", budget.steps, steps),
        seconds_to_target=reached("seconds", budget.seconds, seconds),
        width=width.width if width else None,
        seconds_per_step=median(paces) if paces else math.nan,
        state_bytes=finals[0].state_bytes if finals else 0,
        parameters=finals[0].parameters if finals else 0,
        diverged=sum(run.diverged is not None for run in finals),
        on_edge=_on_edge(trials, chosen),
    )


def _arrivals(
    finals: Sequence[TrialRun],
    target: float,
    direction: Direction,
    clock: str,
    ends: Sequence[float],
) -> list[Arrival]:
    """One a run; none where there is no target. `clock` is a field of a look."""
    if math.isnan(target):
        return []
    return [
        arrival(run, target, direction, lambda look: float(getattr(look, clock)), end)
        for run, end in zip(finals, ends, strict=True)
    ]


def _on_edge(trials: Sequence[Trial], chosen: Trial | None) -> Literal["below", "above"] | None:
    rates = {trial.lr for trial in trials}
    if chosen is None or len(rates) < 2:
        return None
    if chosen.lr == min(rates):
        return "below"
    return "above" if chosen.lr == max(rates) else None


def _metrics(
    record: Contestant, finals: Sequence[TrialRun], metric: str, resolution: float
) -> Sample:
    known = {run.seed: run.test_metric for run in finals if _known(run.test_metric) is not None}
    reason = _no_finals(record, finals)
    if record.diverged:
        reason = f"{record.name} diverged in {record.diverged} of {counted(len(finals), 'run')}"
    elif len(known) < len(finals):
        reason = f"{record.name} has no {metric} in {counted(len(finals) - len(known), 'run')}"
    values = {seed: value for seed, value in known.items() if value is not None}
    return Sample(record.name, values, rounding_variance(resolution), reason=reason)


def _times(
    record: Contestant,
    finals: Sequence[TrialRun],
    target: float,
    direction: Direction,
    budget: _Budget,
) -> Sample:
    reason = _no_finals(record, finals)
    if not reason and math.isnan(target):
        reason = "there is no target: no final run finished"
    times = _arrivals(finals, target, direction, "epoch", [budget.epochs] * len(finals))
    values = {
        run.seed: time.within(budget.epochs) for run, time in zip(finals, times, strict=False)
    }
    return Sample(record.name, values, rounding_variance(budget.look), reason=reason)


def _widths(record: Contestant, width: Robustness | None) -> Sample:
    if width is None:
        reason = f"{record.name} diverged with every setting" if record.trials else "no trials"
        return Sample(record.name, {}, reason=reason)
    return Sample(
        record.name,
        dict(enumerate(width.per_seed)),
        shared=width.variance,
        at_least=width.width.open_below or width.width.open_above,
    )


def _no_finals(record: Contestant, finals: Sequence[TrialRun]) -> str:
    if finals:
        return ""
    cause = "diverged with every setting" if record.trials else "was not tuned"
    return f"{record.name} {cause} and has no final runs"


def _mean(
    values: Iterable[float | None], lowest: float = -math.inf, highest: float = math.inf
) -> Interval | None:
    known = [value for value in map(_known, values) if value is not None]
    return mean_interval(known, lowest, highest) if known else None


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _by_seed(runs: Iterable[TrialRun]) -> list[TrialRun]:
    return sorted(runs, key=lambda run: run.seed)
