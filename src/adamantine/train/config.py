"""How to train, apart from the model, the data and the optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.errors import UsageError
from adamantine.optim import RuleOptimizer
from adamantine.optim.usage.numbers import python_numbers
from adamantine.records import finite
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.train.schedules import check_schedule
from adamantine.train.seeds import check_seed
from adamantine.workloads.data.batches import in_memory
from adamantine.workloads.data.sums import data_sum
from adamantine.workloads.protocol import Data, Workload


@dataclass(frozen=True)
class TrainConfig:
    """The training loop's own settings.

    Parameters
    ----------
    epochs
        Passes over the training data, at least 1.
    batch_size
        Examples per step, at least 1. The last step has one more if a single example would be left
        over. Data that already come in batches keep their own size.
    schedule
        A name from :data:`adamantine.train.schedules.NAMES`.
    seed
        Seed of the order of the data and of what the model draws while it trains;
        ``0 <= seed < 2**63``.
    test_batch_size
        Examples per forward pass when testing; affects speed and memory, not the result.

    Raises
    ------
    UsageError
        A setting is outside its range; the message names both.
    """

    epochs: int = 5
    batch_size: int = 64
    schedule: str = "none"
    seed: int = 0
    test_batch_size: int = 2_000

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "test_batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        check_schedule(self.schedule)
        check_seed(self.seed)


def describe(
    workload: Workload,
    model: nn.Module,
    optimizer: Optimizer,
    config: TrainConfig,
    processes: Alone = ALONE,
) -> dict[str, Any]:
    """All that decides a run's result, as JSON: two equal descriptions give the same bits."""
    description: dict[str, Any] = finite(
        {
            "workload": workload.name,
            "train_examples": _count(workload.train),
            "test_examples": _count(workload.test),
            "data": _sum(workload),
            "metric": {"name": workload.metric.name, "direction": workload.metric.direction},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "optimizer": _describe_optimizer(optimizer),
            "epochs": config.epochs,
            "batch_size": config.batch_size if in_memory(workload.train) else None,
            "test_batch_size": config.test_batch_size if in_memory(workload.test) else None,
            "schedule": config.schedule,
            "seed": config.seed,
            "device": str(device_of(model)),
            "threads": torch.get_num_threads(),
            **processes.description,
        }
    )
    return description


def differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``"optimizer.lr was 0.001 and is now 0.01"`` for every field that is not the same."""
    found = []
    for key in dict.fromkeys([*then, *now]):
        old, new = then.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old} and is now {new}")
    return found


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    groups = [_settings(group) for group in optimizer.param_groups]
    settings = groups[0] if len(groups) == 1 else {"groups": groups}
    cls = type(optimizer)
    return {
        "name": f"{cls.__module__.partition('.')[0]}.{cls.__name__}",
        # Ours: another backend rounds differently.
        "backend": getattr(optimizer, "backend", None),
        **(optimizer.options if isinstance(optimizer, RuleOptimizer) else {}),
        **settings,
    }


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter group's hyperparameters that JSON can hold."""
    values = {
        key: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        for key, value in python_numbers(dict(group)).items()
        # A scheduler writes initial_lr when it is built; it says nothing that lr does not.
        if key not in ("params", "param_names", "initial_lr")
    }
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    return {key: value for key, value in values.items() if isinstance(value, plain)}


def _sum(workload: Workload) -> str | None:
    """Of the data in memory, as far as there are any."""
    parts = [data for data in (workload.train, workload.test) if in_memory(data)]
    return f"{data_sum(*parts):08x}" if parts else None


def _count(data: Data) -> int | None:
    """Examples of data in memory; None where only a pass over it would tell."""
    return len(data[0]) if in_memory(data) else None
