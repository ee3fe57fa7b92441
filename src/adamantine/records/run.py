"""What a training run was asked to do, and what each of its epochs gave."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from adamantine.errors import CheckpointError, UsageError
from adamantine.records.reading import (
    as_object,
    finite,
    integer,
    number,
    parse,
    required,
    wrong_type,
)

Status = Literal["running", "finished", "interrupted", "diverged", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)
RESERVED = ("", "loss", "seconds")
"""Names a metric cannot have: ``test_loss`` and ``test_seconds`` mean something else."""


@dataclass(frozen=True)
class ParameterRecord:
    """What an epoch's measured steps did to one parameter; means over finite values.

    Parameters
    ----------
    elements
        How many it has.
    grad_norm, update_norm, param_norm, update_ratio, nonfinite, clipped, learning_rates
        As in :class:`adamantine.optim.step.stats.ParameterStats`; NaN where none was finite.
    """

    elements: int
    grad_norm: float
    update_norm: float
    param_norm: float
    update_ratio: float
    nonfinite: float
    clipped: float
    learning_rates: tuple[float, ...]

    @classmethod
    def from_json(cls, data: Any, source: str) -> "ParameterRecord":
        """Read its fields from an object; keys it does not know are ignored.

        Raises
        ------
        CheckpointError
            Naming `source` and the key that is missing or has the wrong type.
        """
        data = as_object(data, source)
        rates = required(data, "learning_rates", source)
        if not isinstance(rates, list):
            raise wrong_type(source, "learning_rates", "a list", rates)
        numbers = {key: number(data, key, source) for key in MEASURED}
        places = {f"learning_rates[{index}]": rate for index, rate in enumerate(rates)}
        return cls(
            elements=integer(data, "elements", source),
            learning_rates=tuple(number(places, key, source) for key in places),
            **numbers,
        )


MEASURED = ("grad_norm", "update_norm", "param_norm", "update_ratio", "nonfinite", "clipped")
"""Those fields of a :class:`ParameterRecord` that are one number each."""


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch.

    Parameters
    ----------
    epoch
        Counts from 1.
    average_loss
        Mean over the epoch's batches of the batch's training loss.
    test_loss
        Mean loss over the test examples after the epoch.
    test_metric
        The workload's metric over the test examples; accuracy is a fraction.
    train_seconds, test_seconds
        Wall time of the epoch's training and of its test.
    lr
        Learning rate of the epoch's last step (of the first parameter group).
    metric
        Name of the metric; its JSON key is ``test_<metric>``.
    parameters
        What was measured, by parameter name; None if nothing was.
    processes
        That shared the work.
    """

    epoch: int
    average_loss: float
    test_loss: float
    test_metric: float
    train_seconds: float
    test_seconds: float
    lr: float
    metric: str = "accuracy"
    parameters: Mapping[str, ParameterRecord] | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        check_metric_name(self.metric)

    def to_json(self) -> dict[str, Any]:
        """The object that ``metrics.jsonl`` and ``--json`` hold, one a line."""
        measured = {}
        if self.parameters is not None:
            measured["parameters"] = finite({k: vars(p) for k, p in self.parameters.items()})
        return {
            "epoch": self.epoch,
            "average_loss": finite(self.average_loss),
            "test_loss": finite(self.test_loss),
            f"test_{self.metric}": finite(self.test_metric),
            "train_seconds": finite(self.train_seconds),
            "test_seconds": finite(self.test_seconds),
            "lr": finite(self.lr),
            **({"processes": self.processes} if self.processes > 1 else {}),
            **measured,
        }

    @classmethod
    def from_json(cls, data: Any, source: str = "epoch record") -> "EpochRecord":
        """Read what :meth:`to_json` wrote; keys it does not know are ignored.

        Raises
        ------
        CheckpointError
            Naming `source` and the key that is missing or has the wrong type.
        """
        data = as_object(data, source)
        metric = _metric_name(data, source)
        measured = data.get("parameters")
        where = f"{source}: parameters"
        return cls(
            epoch=integer(data, "epoch", source),
            average_loss=number(data, "average_loss", source),
            test_loss=number(data, "test_loss", source),
            test_metric=number(data, f"test_{metric}", source),
            train_seconds=number(data, "train_seconds", source),
            test_seconds=number(data, "test_seconds", source),
            lr=number(data, "lr", source),
            metric=metric,
            processes=integer(data, "processes", source) if "processes" in data else 1,
            parameters=None
            if measured is None
            else {
                name: ParameterRecord.from_json(parameter, f"{where}: {name}")
                for name, parameter in as_object(measured, where).items()
            },
        )


@dataclass(frozen=True)
class RunRecord:
    """A training run: its configuration, where it ran, and its results.

    Parameters
    ----------
    configuration
        Everything that determines the result: workload, optimizer and its settings, epochs, batch
        size, schedule, seed, device, threads. A run resumes only with the same configuration.
    versions
        Of Python and the packages that compute.
    machine
        System, processor, cores, GPU.
    status
        One of :data:`STATUSES`.
    started
        UTC, ISO 8601.
    options
        The options of the command that started it, for resuming; empty for a library call.
    epochs
        One record per epoch, in order.
    """

    configuration: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    status: Status = "running"
    started: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: tuple[EpochRecord, ...] = ()

    @property
    def seed(self) -> int:
        """The seed of all random numbers of the run."""
        return int(self.configuration["seed"])

    def header(self) -> dict[str, Any]:
        """Everything but the epochs, as ``run.json`` holds it."""
        header: dict[str, Any] = finite(
            {
                "status": self.status,
                "started": self.started,
                "configuration": self.configuration,
                "options": self.options,
                "versions": self.versions,
                "machine": self.machine,
            }
        )
        return header

    def to_json(self) -> dict[str, Any]:
        """The whole record as one JSON object."""
        return {**self.header(), "epochs": [epoch.to_json() for epoch in self.epochs]}

    @classmethod
    def from_json(cls, data: Any, source: str = "run record") -> "RunRecord":
        """Read what :meth:`to_json` or :meth:`header` wrote; unknown keys are ignored.

        Raises
        ------
        CheckpointError
            Naming `source` and the key that is missing or has the wrong type.
        """
        data = as_object(data, source)
        status = required(data, "status", source)
        if status not in STATUSES:
            raise CheckpointError(
                f"{source}: status is {status!r}, expected one of {', '.join(STATUSES)}"
            )
        epochs = data.get("epochs", [])
        if not isinstance(epochs, list):
            raise wrong_type(source, "epochs", "a list", epochs)
        return cls(
            configuration=as_object(
                required(data, "configuration", source), f"{source}: configuration"
            ),
            versions=as_object(required(data, "versions", source), f"{source}: versions"),
            machine=as_object(required(data, "machine", source), f"{source}: machine"),
            status=status,
            started=str(data.get("started", "")),
            options=as_object(data.get("options", {}), f"{source}: options"),
            epochs=tuple(
                EpochRecord.from_json(epoch, f"{source}: epochs[{index}]")
                for index, epoch in enumerate(epochs)
            ),
        )


def check_metric_name(name: str) -> None:
    """Raise :class:`UsageError` for a name whose key would be another number's."""
    if name in RESERVED:
        raise UsageError(
            f"a metric cannot be called {name!r}: its key test_{name} is taken; "
            "give it a name such as 'accuracy' or 'error'"
        )


def to_line(record: EpochRecord) -> str:
    """One line of ``metrics.jsonl``, without the line's end."""
    return json.dumps(record.to_json(), allow_nan=False)


def parse_lines(text: str, source: str) -> tuple[EpochRecord, ...]:
    """The epochs of a ``metrics.jsonl``; blank lines are skipped."""
    return tuple(
        EpochRecord.from_json(parse(line, where), where)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
        for where in [f"{source}, line {number}"]
    )


def _metric_name(data: Mapping[str, Any], source: str) -> str:
    """The metric is the one ``test_`` key that every record does not have."""
    names = [key[5:] for key in data if key.startswith("test_")]
    names = [name for name in names if name not in RESERVED]
    if len(names) != 1:
        found = ", ".join(f"test_{name}" for name in names) or "none"
        raise CheckpointError(
            f"{source}: expected exactly one metric (a key test_<name>), found {found}"
        )
    return names[0]
