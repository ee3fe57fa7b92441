"""The options of ``adamantine compare``."""

from pathlib import Path
from typing import Annotated, cast

import typer
from typer import Option

from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    Cluster,
    DataDir,
    Device,
    Export,
    Jobs,
    Log,
    Looks,
    Seed,
    SkipFailed,
    StudySchedule,
    WorkloadName,
    complete_contestants,
)
from adamantine.cli.options.given import repeat


def compare(
    context: typer.Context,
    contestants: Annotated[
        list[str] | None,
        typer.Argument(
            help="Optimizers: adam, momentum, adamw:weight_decay=0.1,state_dtype=int8, "
            "torch:Adam, module:Class …",
            show_default="adam sgd momentum",
            autocompletion=complete_contestants,
        ),
    ] = None,
    workload: WorkloadName = "digits",
    seeds: Annotated[int, Option(help="Final runs of each contestant, on fresh seeds.")] = 10,
    budget: Annotated[int, Option(help="Settings to try for each contestant.")] = 8,
    tuning_seeds: Annotated[int, Option(help="Runs of each of these settings.")] = 3,
    epochs: Annotated[
        int | None,
        Option(help="Passes over the training data.", show_default="5; 40 for digits"),
    ] = None,
    batch_size: BatchSize = 64,
    schedule: StudySchedule = "none",
    space: Annotated[
        list[str] | None,
        Option(
            help="What else to tune, such as lr=1e-4:1:log,betas.0=0.8:0.99 or "
            "adamw:weight_decay=0:0.3; may be repeated.",
            show_default="learning rates around the optimizer's default",
        ),
    ] = None,
    tune_for: Annotated[
        str,
        Option(help="What to choose settings by: metric, loss (validation) or train-loss."),
    ] = "metric",
    target: Annotated[
        float | None,
        Option(
            help="Validation metric to measure times to.",
            show_default="the worst contestant's best",
        ),
    ] = None,
    tolerance: Annotated[
        float, Option(help="Learning rates within this share of the best score count as good.")
    ] = 0.01,
    looks: Looks = 4,
    seed: Seed = 0,
    jobs: Jobs = None,
    cluster: Cluster = None,
    skip_failed: SkipFailed = False,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[
        Path, Option(help="Folder for the runs, study.json, report.html and the pictures.")
    ] = Path("runs/compare"),
    log: Log = None,
    export: Export = None,
    as_json: AsJson = False,
) -> None:
    """Compare optimizers: tuned on equal budgets, several seeds, with intervals and a verdict.

    Repeat the command to resume a comparison that was stopped.
    """
    from adamantine.cli.compare.run import DEFAULT_CONTESTANTS, default_epochs, run_compare
    from adamantine.cli.options.machine import find_device
    from adamantine.study import Plan, TuneFor

    run_compare(
        Plan(
            contestants=tuple(contestants or DEFAULT_CONTESTANTS),
            seeds=seeds,
            budget=budget,
            tuning_seeds=tuning_seeds,
            epochs=default_epochs(workload) if epochs is None else epochs,
            batch_size=batch_size,
            schedule=schedule,
            space=tuple(space or ()),
            tune_for=cast(TuneFor, tune_for),  # Plan checks it
            target=target,
            tolerance=tolerance,
            looks=looks,
            seed=seed,
            device=str(find_device(device)),
        ),
        workload=workload,
        out=out,
        jobs=jobs,
        cluster=cluster,
        skip_failed=skip_failed,
        data_dir=data_dir,
        command=repeat(context),
        as_json=as_json,
        log=log or (),
        export=export,
    )
