"""Everything a run needs to go on as if it had never stopped."""

import json
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.errors import CheckpointError
from adamantine.optim import RuleOptimizer
from adamantine.optim.usage.numbers import python_numbers
from adamantine.records import EpochRecord, parse_lines, to_line
from adamantine.train.files import write_atomically
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.train.schedules import Schedule
from adamantine.train.seeds import rng_state, set_rng_state


@dataclass(frozen=True)
class State:
    """The parts of a run that change while it trains, apart from the global generators.

    Parameters
    ----------
    model, optimizer, schedule
        As they train; `schedule` is None for a constant learning rate.
    generators
        Of the data's order, and of the data itself if it has one.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule | None
    generators: list[torch.Generator]


@dataclass(frozen=True)
class Checkpoint:
    """A run between two epochs, in types that ``weights_only`` loading takes.

    Parameters
    ----------
    configuration
        The run's description as JSON; a run resumes only from its own.
    metrics
        The epochs so far, as ``metrics.jsonl`` holds them.
    model, optimizer, scheduler
        State dictionaries; the scheduler's is empty where there is none.
    rng
        Of the global generators of torch, NumPy and Python.
    generators
        Of the run's own generators.
    """

    configuration: str
    metrics: str
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    rng: dict[str, Any]
    generators: list[Tensor]

    @classmethod
    def of(
        cls,
        state: State,
        configuration: Mapping[str, Any],
        epochs: tuple[EpochRecord, ...],
        processes: Alone = ALONE,
    ) -> "Checkpoint":
        """Take `state` as it is now; its tensors are shared, so save it before the next step.

        Of several processes, the first one's is whole.
        """
        return cls(
            configuration=json.dumps(configuration),
            metrics=metrics_text(epochs),
            model=processes.whole(_state_of_model(state.model)),
            optimizer=processes.whole(python_numbers(_state_of(state.optimizer))),
            scheduler=(
                python_numbers(state.schedule.scheduler.state_dict()) if state.schedule else {}
            ),
            rng=rng_state(),
            generators=[generator.get_state() for generator in state.generators],
        )

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.metrics.splitlines())

    def save(self, path: Path) -> None:
        """Write it to `path`, whole or not at all."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        write_atomically(path, lambda file: torch.save(content, file))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read `path` without running anything that is in it (``weights_only=True``).

        Raises
        ------
        CheckpointError
            The file is damaged or no checkpoint of this package.
        """
        try:
            with warnings.catch_warnings():
                # Said of damaged files, of which the error says more.
                warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
                return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except (
            OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
            AssertionError, pickle.UnpicklingError, struct.error,
        ) as error:  # fmt: skip
            raise _unreadable(path, error) from error

    def restore(
        self, state: State, path: Path, processes: Alone = ALONE
    ) -> tuple[EpochRecord, ...]:
        """Put `state` and the global generators where they were; return the epochs so far."""
        try:
            state.model.load_state_dict(processes.parts_of_model(self.model, state.model))
            state.optimizer.load_state_dict(
                processes.parts_of_optimizer(self.optimizer, state.optimizer)
            )
            if state.schedule:
                state.schedule.scheduler.load_state_dict(self.scheduler)
            for generator, saved in zip(state.generators, self.generators, strict=True):
                generator.set_state(saved)
            set_rng_state(self.rng)
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            raise _unreadable(path, error) from error
        return parse_lines(self.metrics, str(path))


def _state_of(optimizer: Optimizer) -> dict[str, Any]:
    """Its state to the last bit, which numbers in the place of 8-bit codes would not be."""
    if isinstance(optimizer, RuleOptimizer):
        return optimizer.state_dict(compact=True)
    return optimizer.state_dict()


def _state_of_model(model: nn.Module) -> dict[str, Any]:
    """Its state; what modules add to it (``get_extra_state``) with Python's numbers."""
    state: dict[str, Any] = model.state_dict()
    # In place: it is an OrderedDict with the modules' versions as an attribute.
    state.update({k: python_numbers(v) for k, v in state.items() if not isinstance(v, Tensor)})
    return state


def metrics_text(epochs: tuple[EpochRecord, ...]) -> str:
    """The content of ``metrics.jsonl``."""
    return "".join(f"{to_line(epoch)}\n" for epoch in epochs)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"cannot read the checkpoint {path}: {_cause(error)}. Nothing in the folder was changed; "
        "begin a new run in another one with --out"
    )


def _cause(error: Exception) -> str:
    """What `error` says, in one line and without torch's advice to trust the file."""
    if isinstance(error, KeyError):
        return f"it has no entry {error}"
    told = str(error)
    # torch puts the cause behind two paragraphs on how to do without the check.
    told = told.partition("WeightsUnpickler error: ")[2].partition(" Please use")[0] or told
    return shorten(told, _LONG, placeholder=" …").rstrip(".") or type(error).__name__


_LONG = 600
"""Characters: enough for the names of some parameters."""
