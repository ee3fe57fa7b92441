"""The commands that run studies, and their options; registered in :mod:`adamantine.cli.app`."""

from pathlib import Path
from typing import Annotated, cast

import typer
from typer import Option

from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    DataDir,
    Device,
    Epochs,
    Jobs,
    Looks,
    Seed,
    SkipFailed,
    StudySchedule,
    WorkloadName,
    complete_contestants,
    complete_surfaces,
)


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
    budget: Annotated[int, Option(help="Settings tried for each contestant.")] = 8,
    tuning_seeds: Annotated[int, Option(help="Runs of each setting that is tried.")] = 3,
    epochs: Annotated[
        int | None,
        Option(help="Passes over the training data.", show_default="5; 30 for digits"),
    ] = None,
    batch_size: BatchSize = 64,
    schedule: StudySchedule = "none",
    space: Annotated[
        list[str] | None,
        Option(
            help="What else is tuned, such as lr=1e-4:1:log,betas.0=0.8:0.99 or "
            "adamw:weight_decay=0:0.3; may be repeated.",
            show_default="learning rates around the optimizer's default",
        ),
    ] = None,
    tune_for: Annotated[
        str,
        Option(help="What settings are chosen by: metric, loss (validation) or train-loss."),
    ] = "metric",
    target: Annotated[
        float | None,
        Option(
            help="Validation metric that times are measured to.",
            show_default="the worst contestant's best",
        ),
    ] = None,
    tolerance: Annotated[
        float, Option(help="Learning rates within this share of the best score count as good.")
    ] = 0.01,
    looks: Looks = 4,
    seed: Seed = 0,
    jobs: Jobs = None,
    skip_failed: SkipFailed = False,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[
        Path, Option(help="Folder for the runs, study.json, report.html and the pictures.")
    ] = Path("runs/compare"),
    as_json: AsJson = False,
) -> None:
    """Compare optimizers: tuned on equal budgets, several seeds, with intervals and a verdict.

    The same command again goes on where it was stopped.
    """
    from adamantine.cli.compare.run import DEFAULT_CONTESTANTS, default_epochs, repeat, run_compare
    from adamantine.cli.train.options import find_device
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
        skip_failed=skip_failed,
        data_dir=data_dir,
        command=repeat(context),
        as_json=as_json,
    )


def tune(
    context: typer.Context,
    contestants: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to tune: adam, adamw:state_dtype=int8, torch:Adam, module:Class …; of "
            "several, the search also finds which one.",
            show_default="adam",
            autocompletion=complete_contestants,
        ),
    ] = None,
    workload: WorkloadName = "digits",
    trials: Annotated[int, Option(help="Settings tried, by all who take part together.")] = 50,
    epochs: Epochs = 5,
    batch_size: BatchSize = 64,
    schedule: StudySchedule = "none",
    space: Annotated[
        list[str] | None,
        Option(
            help="What is searched instead or besides, such as lr=1e-5:1e-1:log,betas.0=0.8:0.99, "
            "schedule=none|cosine or batch_size=32|64; may be repeated.",
            show_default="each optimizer's own",
        ),
    ] = None,
    seeds: Annotated[int, Option(help="Final runs of the found setting and the defaults.")] = 5,
    looks: Looks = 4,
    no_pruning: Annotated[
        bool, Option("--no-pruning", help="Stop no trial early, however badly it does.")
    ] = False,
    floor: Annotated[int, Option(help="Epochs that every trial gets.")] = 1,
    sampler: Annotated[
        str, Option(help="How settings are drawn: tpe, gp, cmaes or random.")
    ] = "tpe",
    seed: Seed = 0,
    storage: Annotated[
        str | None,
        Option(
            help="URL of a database for the trials: sqlite:///…, postgresql://…",
            show_default="the file optuna.journal in --out",
        ),
    ] = None,
    study: Annotated[
        str | None, Option(help="Name of the search in it.", show_default="tune")
    ] = None,
    jobs: Jobs = None,
    skip_failed: SkipFailed = False,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[Path, Option(help="Folder for the trials, tune.json and best.json.")] = Path(
        "runs/tune"
    ),
    as_json: AsJson = False,
) -> None:
    """Search for settings better than the defaults, and say whether they are.

    The same command again goes on where it was stopped; given elsewhere with the same --storage
    and --study, it helps.
    """
    from adamantine.cli.train.options import find_device
    from adamantine.cli.tune.run import repeat_without_password, run_tune
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
        skip_failed=skip_failed,
        storage=storage,
        study=study,
        data_dir=data_dir,
        command=repeat_without_password(context, storage),
        as_json=as_json,
    )


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished comparison or search.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a finished study again; runs nothing."""
    from adamantine.cli.compare.report import STUDY, run_report
    from adamantine.cli.tune.run import run_tune_report
    from adamantine.study.tune.listener import TUNE

    is_search = (folder / TUNE).exists() and not (folder / STUDY).exists()
    (run_tune_report if is_search else run_report)(folder, as_json=as_json)


def trace(
    contestants: Annotated[
        list[str] | None,
        typer.Argument(
            help="As for compare; with a learning rate where it is not to be searched for: "
            "adam:lr=0.1.",
            show_default="adam sgd momentum rmsprop",
            autocompletion=complete_contestants,
        ),
    ] = None,
    surface: Annotated[
        str,
        Option(help="rosenbrock, beale, ravine, saddle, or all.", autocompletion=complete_surfaces),
    ] = "rosenbrock",
    steps: Annotated[int, Option(help="Steps that each optimizer takes.")] = 200,
    out: Annotated[Path, Option(help="Folder for the picture and the page.")] = Path("runs/trace"),
    as_json: AsJson = False,
) -> None:
    """Draw the paths of optimizers over a function of two numbers."""
    from adamantine.cli.trace.run import run_trace

    run_trace(contestants or [], surface, steps, out, as_json=as_json)
