"""One training, in a process of its own with one thread; `runs` starts it.

Usage: python -m benchmarks.training_run RUN, where RUN is a :class:`Run` as JSON. Prints what it
gave as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
from torch import nn

import adamantine
from adamantine.records import EpochRecord
from adamantine.train import TrainConfig, seed_everything, train
from adamantine.workloads import load
from adamantine.workloads.protocol import Workload
from benchmarks import memory, text

Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """All that decides what a training gives.

    Parameters
    ----------
    workload
        A built-in one's name, or ``"text"``.
    seed
        Of the first weights, the data's order and stochastic rounding.
    settings
        The optimizer's.
    config
        The loop's; see ``TrainConfig``.
    optimizer
        ``"adamantine.Adam"``, ``"torch.optim.Adam"`` …
    param_dtype
        Of the parameters, and so of what the model computes in.
    workload_settings
        Arguments of :func:`benchmarks.text.text`.
    """

    workload: str
    seed: int
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    optimizer: str = "adamantine.Adam"
    param_dtype: str = "float32"
    workload_settings: Mapping[str, Any] = field(default_factory=dict)


# Enough to have all libraries loaded and kernels compiled.
TINY = {"width": 64, "layers": 1, "batch_size": 1, "steps": 1, "windows": 1}


def run(given: Run, data_dir: str | None = None) -> Result:
    """Train and test."""
    workload = _workload(given, data_dir)
    if given.workload == "text":
        _train(replace(given, config={"epochs": 1}), text.text(**TINY))
    before = memory.resident()
    start = perf_counter()
    epochs, model, optimizer = _train(given, workload)
    seconds, peak = perf_counter() - start, memory.peak()
    return {
        "epochs": [epoch.to_json() for epoch in epochs],
        "seconds": round(seconds, 2),
        "parameters": sum(param.numel() for param in model.parameters()),
        "model_bytes": 2 * sum(param.nbytes for param in model.parameters()),  # with gradients
        "optimizer_bytes": memory.held(optimizer).tensors,
        # Beyond what the program and its data took before there was this model.
        "peak_bytes": None if before is None or peak is None else peak - before,
    }


def _train(
    given: Run, workload: Workload
) -> tuple[Sequence[EpochRecord], nn.Module, torch.optim.Optimizer]:
    dtype = getattr(torch, given.param_dtype)
    seed_everything(given.seed)
    model = workload.model().to(dtype)
    optimizer = _optimizer(model, given)
    config = TrainConfig(seed=given.seed, **given.config)
    return train(_in_dtype(workload, dtype), model, optimizer, config).epochs, model, optimizer


def _optimizer(model: nn.Module, given: Run) -> torch.optim.Optimizer:
    package, _, name = given.optimizer.rpartition(".")
    build = getattr({"adamantine": adamantine, "torch.optim": torch.optim}[package], name)
    optimizer: torch.optim.Optimizer = build(model.parameters(), **given.settings)
    return optimizer


def _workload(given: Run, data_dir: str | None) -> Workload:
    if given.workload == "text":
        return text.text(given.seed, **given.workload_settings)
    return load(given.workload, data_dir if given.workload.startswith("mnist") else None)


def _in_dtype(workload: Workload, dtype: torch.dtype) -> Workload:
    """Floating-point inputs as the model wants them; the loss is computed in float32 anyway."""
    if workload.name == "text" or dtype == torch.float32:
        return workload
    (train_inputs, train_targets), (test_inputs, test_targets) = workload.train, workload.test
    return replace(
        workload,
        train=(train_inputs.to(dtype), train_targets),
        test=(test_inputs.to(dtype), test_targets),
        loss=lambda outputs, targets: workload.loss(outputs.float(), targets),
    )


def main() -> None:
    torch.set_num_threads(1)
    given = json.loads(sys.argv[1])
    data_dir = given.pop("data_dir", None)
    print(json.dumps(run(Run(**given), data_dir)))


if __name__ == "__main__":
    main()
