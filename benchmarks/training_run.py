"""One training, in a process of its own with one thread; `runs` starts it.

Usage: python -m benchmarks.training_run RUN, where RUN is a :class:`Run` as JSON. Prints what it
gave as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch

import adamantine
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


def run(given: Run, data_dir: str | None = None) -> Result:
    """Train and test."""
    dtype = getattr(torch, given.param_dtype)
    workload = _in_dtype(_workload(given, data_dir), dtype)
    seed_everything(given.seed)
    before = memory.resident()
    model = workload.model().to(dtype)
    parameters = sum(param.numel() for param in model.parameters())
    package, _, name = given.optimizer.rpartition(".")
    build = getattr({"adamantine": adamantine, "torch.optim": torch.optim}[package], name)
    optimizer = build(model.parameters(), **given.settings)
    start = perf_counter()
    record = train(workload, model, optimizer, TrainConfig(seed=given.seed, **given.config))
    seconds = perf_counter() - start
    peak = memory.peak()
    return {
        "epochs": [epoch.to_json() for epoch in record.epochs],
        "seconds": round(seconds, 2),
        "parameters": parameters,
        "optimizer_bytes": memory.held_bytes(optimizer),
        # Above what the program and its data took before there was a model.
        "peak_bytes": None if before is None or peak is None else peak - before,
    }


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
