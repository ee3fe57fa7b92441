"""The options of ``adamantine train``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    Betas,
    DataDir,
    Device,
    Epochs,
    Eps,
    Log,
    MaxGradNorm,
    Momentum,
    OptimizerName,
    Seed,
    Sparse,
    StateDtype,
    Threads,
    WeightDecay,
    WorkloadName,
    complete_parallel,
    complete_schedules,
)
from adamantine.cli.options.given import is_given, repeat
from adamantine.errors import UsageError


def train(
    context: typer.Context,
    workload: WorkloadName = "mnist",
    optimizer: OptimizerName = "adam",
    lr: Annotated[
        float | None, Option(help="Learning rate.", show_default="the optimizer's")
    ] = None,
    betas: Betas = None,
    eps: Eps = None,
    weight_decay: WeightDecay = None,
    sparse: Sparse = None,
    momentum: Momentum = None,
    state_dtype: StateDtype = None,
    max_grad_norm: MaxGradNorm = None,
    epochs: Epochs = 5,
    batch_size: BatchSize = 64,
    schedule: Annotated[
        str,
        Option(
            help="Learning rate schedule: none, step, cosine, one-cycle, linear-warmup or"
            " inverse-sqrt.",
            autocompletion=complete_schedules,
        ),
    ] = "none",
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    parallel: Annotated[
        str | None,
        Option(
            help="How processes that torchrun started train together: ddp (a model in each) or"
            " fsdp (divided among them).",
            show_default="ddp where torchrun started it",
            autocompletion=complete_parallel,
        ),
    ] = None,
    stats: Annotated[
        bool,
        Option(
            "--stats",
            help="Measure every 10th step: norms of each parameter, its gradient and its update "
            "go into metrics.jsonl and stats.png.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        Option(help="The best.json of a search (see: adamantine tune); other options override it."),
    ] = None,
    out: Annotated[
        Path | None,
        Option(help="Folder for run.json, metrics.jsonl, checkpoint.pt and the pictures."),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Resume the run in --out, with its options.")
    ] = False,
    allow_changed_data: Annotated[
        bool,
        Option("--allow-changed-data", help="Resume even though the data have changed."),
    ] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the run in --out.")] = False,
    live: Annotated[
        bool, Option("--live", help="Draw curves of loss and metric in the terminal.")
    ] = False,
    log: Log = None,
    as_json: AsJson = False,
) -> None:
    """Train a model and test it after every epoch."""
    if "RANK" in os.environ:
        # DDP warns, in every process, that it looks for parameters without a gradient. torch reads
        # this when it is imported, which is now.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from adamantine.cli.train.config import options_of_config
    from adamantine.cli.train.options import TrainOptions
    from adamantine.cli.train.processes import join
    from adamantine.cli.train.run import options_to_resume, run_train

    options: dict[str, Any] = {
        "workload": workload,
        "optimizer": optimizer,
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "sparse": sparse,
        "momentum": momentum,
        "state_dtype": state_dtype,
        "max_grad_norm": max_grad_norm,
        "epochs": epochs,
        "batch_size": batch_size,
        "schedule": schedule,
        "seed": seed,
        "threads": threads,
        "device": device,
        "data_dir": data_dir,
        "stats": stats,
    }
    given = {name: value for name, value in options.items() if is_given(context, name)}
    with join(parallel, repeat(context)) as processes:
        if resume and overwrite:
            raise UsageError("--resume and --overwrite exclude each other; give one of them")
        if allow_changed_data and not resume:
            raise UsageError("--allow-changed-data is for --resume; leave it out")
        if resume and config is not None:
            raise UsageError("--resume has the options of its run; leave --config out")
        if out is None and (resume or overwrite):
            raise UsageError(f"{'--resume' if resume else '--overwrite'} needs --out DIR")
        if stats and out is None and not as_json:
            raise UsageError("--stats needs --out DIR or --json, or nobody would see them")
        if resume and out is not None:
            options |= processes.first(lambda: options_to_resume(out)) | given
        if config is not None:
            options |= options_of_config(config, given) | given
        run_train(
            TrainOptions(**options),
            out=out,
            if_exists="resume" if resume else "overwrite" if overwrite else "refuse",
            allow_changed_data=allow_changed_data,
            batch_size_given=is_given(context, "batch_size"),
            as_json=as_json,
            processes=processes,
            log=log or (),
            live=live,
        )
