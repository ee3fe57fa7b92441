"""What the runs of a study have in common: the arena they are done in, and its description."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from adamantine import workloads
from adamantine.errors import UsageError
from adamantine.records import TrialRun
from adamantine.study.training import Arena
from adamantine.train.config import TrainConfig
from adamantine.train.machine import versions
from adamantine.workloads import in_memory
from adamantine.workloads.protocol import Workload

COMPUTING = ("adamantine", "torch", "numba", "numpy")
"""Packages whose version may change a run's bits."""


class LoopPlan(Protocol):
    """What plans of all kinds of studies say about the loop."""

    @property
    def epochs(self) -> int:
        """Passes over the training data."""

    @property
    def batch_size(self) -> int:
        """Examples a step."""

    @property
    def schedule(self) -> str:
        """The learning rate's."""

    @property
    def looks(self) -> int:
        """Looks at the validation data in an epoch."""

    @property
    def seed(self) -> int:
        """Where the seeds of all runs come from."""

    @property
    def device(self) -> str:
        """Where models train."""


def enter_arena(workload: Workload | str, plan: LoopPlan, data_dir: str | Path | None) -> Arena:
    """What all runs share, loaded in the process that does them."""
    if isinstance(workload, str):
        workload = workloads.load(workload, data_dir)
    config = TrainConfig(
        epochs=plan.epochs, batch_size=plan.batch_size, schedule=plan.schedule, seed=plan.seed
    )
    return Arena.of(workload, config, plan.looks, plan.device)


def check_jobs(jobs: int | None, workload: Workload | str) -> None:
    """Raise :class:`UsageError` unless there can be so many processes."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")
    if jobs is not None and not isinstance(workload, str):
        raise UsageError(
            "jobs needs a workload that other processes can load: give its name or "
            "module:attribute instead of the object, or leave jobs out"
        )


def conditions_of(workload: Workload | str, plan: LoopPlan, arena: Arena) -> dict[str, Any]:
    """All but contestant, settings and seed that decides a run's bits; kept with each run."""
    named = isinstance(workload, str)
    packages = versions()
    return {
        "workload": workload if isinstance(workload, str) else workload.name,
        "examples": arena.examples,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size if in_memory(arena.tuning.train) else None,
        "schedule": plan.schedule,
        "looks": plan.looks,
        "device": arena.device.type,
        "threads": 1 if named else torch.get_num_threads(),
        "versions": {name: packages[name] for name in COMPUTING},
    }


def resolution_of(arena: Arena, runs: Sequence[Sequence[TrialRun]]) -> float:
    """The step of a metric that counts hits among the test examples; 0 for one that does not."""
    if not in_memory(arena.test):
        return 0.0
    count = len(arena.test[0])
    hits = [run.test_metric * count for own in runs for run in own if run.test_metric is not None]
    counted = all(abs(number - round(number)) < 1e-6 * count for number in hits)
    return 1 / count if counted and hits else 0.0
