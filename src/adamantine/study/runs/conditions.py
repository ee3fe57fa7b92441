"""What the runs of a study have in common: the context they are done in, and its description."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch

from adamantine import workloads
from adamantine.errors import AdamantineError, UsageError
from adamantine.records import TrialRun
from adamantine.study.runs import gpus
from adamantine.study.runs.ray_pool import check_cluster
from adamantine.study.runs.training import RunContext
from adamantine.train.config import TrainConfig
from adamantine.train.devices import moved
from adamantine.train.diagnosis import failure
from adamantine.train.loop import evaluate
from adamantine.train.machine import cores, versions
from adamantine.train.seeds import rng_state, seed_everything, set_rng_state
from adamantine.workloads import batch_count, batches, in_memory
from adamantine.workloads.data.sums import data_sum
from adamantine.workloads.protocol import Workload

FEW = 64
"""Examples that a fingerprint is taken of."""
COMPUTING = ("adamantine", "torch", "numba", "numpy", "python")
"""Packages whose version may change a run's bits; Python's sources are some workloads' texts."""


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


def build_context(
    workload: Workload | str,
    plan: LoopPlan,
    data_dir: str | Path | None,
    *,
    with_stats: bool = False,
) -> RunContext:
    """What all runs share, loaded in the process that does them."""
    if isinstance(workload, str):
        workload = workloads.load(workload, data_dir)
    config = TrainConfig(
        epochs=plan.epochs, batch_size=plan.batch_size, schedule=plan.schedule, seed=plan.seed
    )
    return RunContext.of(workload, config, plan.looks, plan.device, with_stats=with_stats)


def check_place(
    workload: Workload | str,
    jobs: int | None,
    data_dir: str | Path | None,
    cluster: str | None = None,
) -> None:
    """Raise :class:`UsageError` unless runs can be done in so many processes, with those data."""
    check_cluster(cluster)
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")
    if isinstance(workload, str):
        return
    if jobs is not None or cluster is not None:
        raise UsageError(
            f"{'jobs' if cluster is None else 'cluster'} needs a workload that other processes "
            "can load: give its name or module:attribute instead of the object, or leave it out"
        )
    if data_dir is not None:
        raise UsageError(
            f"data_dir is {data_dir}, and the workload is an object that has its data; leave it out"
        )


def default_jobs(plan: LoopPlan) -> int:
    """As many as there are cores, or GPUs where runs are done on these."""
    return gpus.count(plan.device) or cores() or 1


def gpus_of(plan: LoopPlan) -> int:
    """That a run takes."""
    return int(torch.device(plan.device).type != "cpu")


def conditions_of(workload: Workload | str, plan: LoopPlan, context: RunContext) -> dict[str, Any]:
    """All but contestant, settings and seed that decides a run's bits; kept with each run."""
    named = isinstance(workload, str)
    packages = versions()
    return {
        "workload": workload if isinstance(workload, str) else workload.name,
        "examples": context.examples,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size if in_memory(context.tuning.train) else None,
        "schedule": plan.schedule,
        "looks": plan.looks,
        "device": context.device.type,
        "threads": 1 if named else torch.get_num_threads(),
        "versions": {name: packages[name] for name in COMPUTING},
        "fingerprint": fingerprint(context),
    }


def fingerprint(context: RunContext, *, exact: bool = True) -> str:
    """Of the model, the loss, the metric and the data in memory, so that a changed one is noticed.

    A sum over the data, the model as it prints itself, and loss and metric of its first weights
    on the first validation examples, to five digits. Not `exact`, it is the same on machines that
    round otherwise: norms of the data, to four digits, and loss and metric to three. The global
    generators are left as they were.
    """
    workload, before = context.tuning, rng_state()
    data, digits = (workload.train, workload.test, context.test), 5 if exact else 3
    if exact:
        total = data_sum(*data)
    else:
        sizes = [_sizes(part) for one in data if in_memory(one) for part in one]
        total = zlib.crc32("".join(sizes).encode())
    try:
        seed_everything(0)
        model = workload.model().to(context.device)
        stream = batches(workload.test, FEW)
        loss, metric = evaluate(
            model, workload.loss, workload.metric, moved(islice(stream, 1), context.device)
        )
    except AdamantineError:
        raise
    except Exception as error:
        raise failure(error, "preparing the runs") from error
    finally:
        set_rng_state(before)
    said = f"{total} {model!r} {loss:.{digits}g} {metric:.{digits}g}"
    return f"{zlib.crc32(said.encode(), total):08x}"


def _sizes(part: torch.Tensor) -> str:
    """The norm of a tensor, and of its first half alone, where another order shows."""
    numbers = torch.view_as_real(part) if part.is_complex() else part
    numbers = numbers.detach() if numbers.is_floating_point() else numbers.float()
    halves = numbers, numbers[: len(part) // 2]
    norms = [float(torch.linalg.vector_norm(half, dtype=torch.float64)) for half in halves]
    return f"{tuple(part.shape)} {part.dtype} {norms[0]:.4g} {norms[1]:.4g}"


def check_used(plan: Any, context: RunContext) -> None:
    """Raise :class:`UsageError` where a setting would be ignored: the data decides it itself.

    What is at its default may have been left out, and is not complained about.
    """
    train = context.tuning.train
    default = {field.name: field.default for field in fields(plan)}
    if not in_memory(train) and plan.batch_size != default["batch_size"]:
        raise UsageError(
            f"workload {context.tuning.name} brings batches of its own; leave out the batch size"
        )
    if batch_count(train, plan.batch_size) is None and plan.looks != default["looks"]:
        raise UsageError(
            f"workload {context.tuning.name} does not say how many batches an epoch has, so that "
            "it is looked at once an epoch; leave out looks"
        )


def resolution_of(context: RunContext, runs: Sequence[Sequence[TrialRun]]) -> float:
    """The step of a metric that counts hits among the test examples; 0 for one that does not."""
    if not in_memory(context.test):
        return 0.0
    count = len(context.test[0])
    hits = [run.test_metric * count for own in runs for run in own if run.test_metric is not None]
    counted = all(
        math.isfinite(number) and abs(number - round(number)) < 1e-6 * count for number in hits
    )
    return 1 / count if counted and hits else 0.0
