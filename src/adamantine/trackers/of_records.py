"""What of a record a tracker is told."""

from collections.abc import Mapping
from typing import Any

from adamantine.records import (
    MEASURED,
    EpochRecord,
    Interval,
    ParameterRecord,
    RunRecord,
    StudyRecord,
    TrialRun,
    TuneRecord,
)
from adamantine.trackers.identity import digest
from adamantine.trackers.protocol import Outcome, Status, TrackedLook, TrackedRun

CHANGING = ("epochs", "data", "train_examples", "test_examples", "parallel", "processes")
"""What of a training's configuration may be another when it goes on."""


def training(record: RunRecord) -> TrackedRun:
    """A training of its own."""
    configuration = record.configuration
    fixed = {name: value for name, value in configuration.items() if name not in CHANGING}
    optimizer = configuration["optimizer"]
    name = optimizer["name"].rpartition(".")[2]
    return TrackedRun(
        id=digest("train", record.started, fixed),
        name=f"{configuration['workload']} {name} seed={configuration['seed']}",
        settings={**flat(fixed), "started": record.started},
    )


def look_of_epoch(epoch: EpochRecord) -> TrackedLook:
    """An epoch, with what was measured of its steps."""
    values = {
        "average_loss": epoch.average_loss,
        "test_loss": epoch.test_loss,
        f"test_{epoch.metric}": epoch.test_metric,
        "train_seconds": epoch.train_seconds,
        "test_seconds": epoch.test_seconds,
        "lr": epoch.lr,
    }
    return TrackedLook(epoch.epoch, values | _of_parameters(epoch.parameters or {}))


def study(kind: str, token: str, plan: Mapping[str, Any]) -> TrackedRun:
    """A study, of which the plan says everything; `token` is its folder's."""
    return TrackedRun(
        id=digest(kind, token, plan),
        name=f"{kind} {plan['workload']}",
        settings=flat(plan),
        is_study=True,
    )


def run_of_study(run: TrialRun, parent: TrackedRun) -> TrackedRun:
    """One of a study's runs."""
    chosen = {**run.settings, **run.training}
    said = "".join(f" {name}={_short(value)}" for name, value in chosen.items())
    known = (run.contestant, run.purpose, run.settings, run.training, run.seed)
    return TrackedRun(
        id=digest(parent.id, *known),
        name=f"{run.contestant}{said} {run.purpose} seed={run.seed}",
        settings={
            "contestant": run.contestant,
            "purpose": run.purpose,
            "seed": run.seed,
            **flat(chosen),
        },
        parent=parent,
    )


def looks_of(run: TrialRun, metric: str) -> list[TrackedLook]:
    """All looks at it, with what the steps before them did."""
    stats = run.stats or ({},) * len(run.looks)
    return [
        TrackedLook(
            look.step,
            {
                "epoch": look.epoch,
                "seconds": look.seconds,
                "train_loss": look.train_loss,
                "validation_loss": look.validation_loss,
                f"validation_{metric}": look.validation_metric,
                **_of_parameters(parameters),
            },
        )
        for look, parameters in zip(run.looks, stats, strict=True)
    ]


def outcome_of(run: TrialRun, metric: str) -> Outcome:
    """Its end."""
    status: Status = "finished"
    if run.failed:
        status = "failed"
    elif run.diverged:
        status = "diverged"
    elif run.pruned:
        status = "pruned"
    values: dict[str, float | None] = {
        "test_loss": run.test_loss,
        f"test_{metric}": run.test_metric,
        "steps": run.steps,
        "training_seconds": run.seconds,
        "parameters": run.parameters,
        "state_bytes": run.state_bytes,
    }
    known = {name: float(value) for name, value in values.items() if value is not None}
    return Outcome(status, run.steps, known, run.failed or "")


def verdict_of(record: StudyRecord | TuneRecord) -> Outcome:
    """A study's end: its verdict, and what each contestant came to."""
    found: dict[str, Interval | None]
    if isinstance(record, StudyRecord):
        found = {each.name: each.metric for each in record.contestants}
    else:
        found = {"tuned": record.tuned_metric, "defaults": record.defaults_metric}
    values: dict[str, float] = {}
    for name, interval in found.items():
        if interval is not None:
            ends = {"": interval.value, "_low": interval.low, "_high": interval.high}
            values |= {f"{name}/test_{record.metric}{end}": v for end, v in ends.items()}
    text = " ".join(finding.sentence for finding in record.verdict)
    return Outcome("finished", 0, values, text)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings by dotted names."""
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            plain |= flat(value, f"{prefix}{name}.")
        else:
            plain[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return plain


def _of_parameters(parameters: Mapping[str, ParameterRecord]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, parameter in parameters.items():
        values |= {f"stats/{name}/{key}": getattr(parameter, key) for key in MEASURED}
        for index, rate in enumerate(parameter.learning_rates):
            values[f"stats/{name}/learning_rate_{index}"] = rate
    return values


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
