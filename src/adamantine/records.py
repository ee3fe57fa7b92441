"""What a run produced, and its JSON; standard library only, so that any tool can read it.

A number that is not finite is written as ``null`` and read back as NaN: JSON has no other
word for it, and a file that only Python can parse is of no use to ``jq`` or a browser.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from adamantine.errors import CheckpointError, UsageError

Status = Literal["running", "finished", "interrupted", "diverged", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)
RESERVED = ("", "loss", "seconds")
"""Names a metric cannot have: ``test_loss`` and ``test_seconds`` mean something else."""


@dataclass(frozen=True)
class ParameterRecord:
    """What an epoch's measured steps did to one parameter; means over those that were finite.

    Parameters
    ----------
    elements
        How many it has.
    grad_norm, update_norm, param_norm, update_ratio, nonfinite, clipped, learning_rates
        As in :class:`adamantine.optim.stats.ParameterStats`; NaN where none was finite.
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
        data = _object(data, source)
        rates = _get(data, "learning_rates", source)
        if not isinstance(rates, list):
            raise _wrong_type(source, "learning_rates", "a list", rates)
        numbers = {key: _number(data, key, source) for key in MEASURED}
        places = {f"learning_rates[{index}]": rate for index, rate in enumerate(rates)}
        return cls(
            elements=_integer(data, "elements", source),
            learning_rates=tuple(_number(places, key, source) for key in places),
            **numbers,
        )


MEASURED = ("grad_norm", "update_norm", "param_norm", "update_ratio", "nonfinite", "clipped")
"""Those fields of a :class:`ParameterRecord` that are one number each."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

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
        By name, what was measured of them; None where nothing was.
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
        data = _object(data, source)
        metric = _metric_name(data, source)
        measured = data.get("parameters")
        where = f"{source}: parameters"
        return cls(
            epoch=_integer(data, "epoch", source),
            average_loss=_number(data, "average_loss", source),
            test_loss=_number(data, "test_loss", source),
            test_metric=_number(data, f"test_{metric}", source),
            train_seconds=_number(data, "train_seconds", source),
            test_seconds=_number(data, "test_seconds", source),
            lr=_number(data, "lr", source),
            metric=metric,
            parameters=None
            if measured is None
            else {
                name: ParameterRecord.from_json(parameter, f"{where}: {name}")
                for name, parameter in _object(measured, where).items()
            },
        )


@dataclass(frozen=True)
class RunRecord:
    """A training run: what it was asked to do, where it ran, and what it gave.

    Parameters
    ----------
    configuration
        All that decides the result: workload, optimizer and its settings, epochs, batch size,
        schedule, seed, device, threads. A run is resumed only with the same.
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
        One record an epoch, in order.
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
        """What all random numbers of the run come from."""
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
        data = _object(data, source)
        status = _get(data, "status", source)
        if status not in STATUSES:
            raise CheckpointError(
                f"{source}: status is {status!r}, expected one of {', '.join(STATUSES)}"
            )
        epochs = data.get("epochs", [])
        if not isinstance(epochs, list):
            raise _wrong_type(source, "epochs", "a list", epochs)
        return cls(
            configuration=_object(_get(data, "configuration", source), f"{source}: configuration"),
            versions=_object(_get(data, "versions", source), f"{source}: versions"),
            machine=_object(_get(data, "machine", source), f"{source}: machine"),
            status=status,
            started=str(data.get("started", "")),
            options=_object(data.get("options", {}), f"{source}: options"),
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


def finite(value: Any) -> Any:
    """`value` with every number that JSON cannot hold replaced by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [finite(element) for element in value]
    return value


def to_line(record: EpochRecord) -> str:
    """One line of ``metrics.jsonl``, without the line's end."""
    return json.dumps(record.to_json(), allow_nan=False)


def parse(text: str, source: str) -> Any:
    """``json.loads`` with an error that names `source`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} is not valid JSON: {error}") from None


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


def _object(value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckpointError(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value


def _get(data: Mapping[str, Any], key: str, source: str) -> Any:
    if key not in data:
        raise CheckpointError(f"{source}: the key {key!r} is missing")
    return data[key]


def _integer(data: Mapping[str, Any], key: str, source: str) -> int:
    value = _get(data, key, source)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(source, key, "an integer", value)
    return value


def _number(data: Mapping[str, Any], key: str, source: str) -> float:
    value = _get(data, key, source)
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(source, key, "a number or null", value)
    try:
        return float(value)
    except OverflowError:
        raise _wrong_type(source, key, "a number that float64 can hold", value) from None


def _wrong_type(source: str, key: str, expected: str, value: Any) -> CheckpointError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return CheckpointError(f"{source}: {key} is {shown}, expected {expected}")
