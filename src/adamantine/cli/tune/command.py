"""The options of ``adamantine tune``."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    Cluster,
    DataDir,
    Device,
    Epochs,
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


def tune(
    context: typer.Context,
    contestants: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to tune: adam, adamw:state_dtype=int8, torch:Adam, module:Class …; given "
            "several, the search also finds which one to use.",
            show_default="adam",
            autocompletion=complete_contestants,
        ),
    ] = None,
    workload: WorkloadName = "digits",
    trials: Annotated[int, Option(help="Settings to try, in all processes together.")] = 50,
    epochs: Epochs = 5,
    batch_size: BatchSize = 64,
    schedule: StudySchedule = "none",
    space: Annotated[
        list[str] | None,
        Option(
            help="What to search instead or as well, such as lr=1e-5:1e-1:log,betas.0=0.8:0.99, "
            "schedule=none|cosine or batch_size=32|64; may be repeated.",
            show_default="each optimizer's own",
        ),
    ] = None,
    seeds: Annotated[int, Option(help="Final runs of the settings found and of the defaults.")] = 5,
    looks: Looks = 4,
    no_pruning: Annotated[
        bool, Option("--no-pruning", help="Stop no trial early, however badly it does.")
    ] = False,
    floor: Annotated[int, Option(help="Epochs that every trial gets.")] = 1,
    sampler: Annotated[str, Option(help="How to draw settings: tpe, gp, cmaes or random.")] = "tpe",
    seed: Seed = 0,
    storage: Annotated[
        str | None,
        Option(
            help="URL of a database for the trials: sqlite:///…, postgresql://…",
            show_default="the file optuna.journal in --out",
        ),
    ] = None,
    study: Annotated[
        str | None, Option(help="Name of the search in the storage.", show_default="tune")
    ] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    skip_failed: SkipFailed = False,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[Path, Option(help="Folder for the trials, tune.json and best.json.")] = Path(
        "runs/tune"
    ),
    log: Log = None,
    export: Export = None,
    as_json: AsJson = False,
) -> None:
    """Search for settings better than the defaults, and say whether they are.

    Repeat the command to resume a search that was stopped; give it elsewhere with the same
    --storage and --study to share the work.
    """
    from adamantine.cli.options.machine import find_device
    from adamantine.cli.tune.run import run_tune
    from adamantine.study import TunePlan

    run_tune(
        TunePlan(
            contestants=tuple(contestants or ("adam",)),
            trials=trials,
            epochs=epochs,
            batch_size=batch_size,
            schedule=schedule,
            space=tuple(space or ()),
            seeds=seeds,
            looks=looks,
            pruning=not no_pruning,
            floor=floor,
            sampler=sampler,
            seed=seed,
            device=str(find_device(device)),
        ),
        workload=workload,
        out=out,
        jobs=jobs,
        cluster=cluster,
        skip_failed=skip_failed,
        storage=storage,
        study=study,
        data_dir=data_dir,
        command=_repeat_without_password(context, storage),
        as_json=as_json,
        log=log or (),
        export=export,
    )


def _repeat_without_password(context: typer.Context, storage: str | None) -> str:
    """The command line that repeats this one, as a record may hold it."""
    if storage is None:
        return repeat(context)
    from adamantine.study.tune.trials.storage import shown

    return repeat(context, {"storage": shown(storage)})
