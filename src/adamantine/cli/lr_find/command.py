"""The options of ``adamantine lr-find``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    Betas,
    Cluster,
    DataDir,
    Device,
    Eps,
    MaxGradNorm,
    Momentum,
    OptimizerName,
    Sparse,
    StateDtype,
    Threads,
    WeightDecay,
    WorkloadName,
)
from adamantine.cli.options.given import is_given


def lr_find(
    context: typer.Context,
    workload: WorkloadName = "mnist",
    optimizer: OptimizerName = "adam",
    betas: Betas = None,
    eps: Eps = None,
    weight_decay: WeightDecay = None,
    sparse: Sparse = None,
    momentum: Momentum = None,
    state_dtype: StateDtype = None,
    max_grad_norm: MaxGradNorm = None,
    seeds: Annotated[int, Option(help="Short trainings at each learning rate.")] = 5,
    steps: Annotated[int, Option(help="Steps of a short training.")] = 50,
    low: Annotated[float, Option(help="Smallest learning rate of the search.")] = 1e-7,
    high: Annotated[float, Option(help="Largest learning rate of the search.")] = 10.0,
    batch_size: BatchSize = 64,
    seed: Annotated[int, Option(help="The first seed; the others follow it.")] = 0,
    threads: Threads = None,
    cluster: Cluster = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[Path, Option(help="Folder for lr_find.png and lr_find.json.")] = Path(
        "runs/lr-find"
    ),
    as_json: AsJson = False,
) -> None:
    """Find learning rates that work, and one to begin with, by short trainings."""
    from adamantine.cli.lr_find.run import LrFindOptions, run_lr_find

    settings: dict[str, Any] = {
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "sparse": sparse,
        "momentum": momentum,
        "state_dtype": state_dtype,
        "max_grad_norm": max_grad_norm,
    }
    run_lr_find(
        LrFindOptions(
            workload=workload,
            optimizer=optimizer,
            settings={name: value for name, value in settings.items() if value is not None},
            seeds=seeds,
            steps=steps,
            low=low,
            high=high,
            batch_size=batch_size,
            batch_size_given=is_given(context, "batch_size"),
            seed=seed,
            threads=threads,
            cluster=cluster,
            device=device,
            data_dir=data_dir,
        ),
        out,
        as_json=as_json,
    )
