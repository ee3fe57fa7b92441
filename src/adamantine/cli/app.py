"""The commands and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Abort, Option

from adamantine.cli.compare import command as studies
from adamantine.cli.lr_find import command as searches
from adamantine.cli.options.declarations import (
    AsJson,
    BatchSize,
    Betas,
    DataDir,
    Device,
    Epochs,
    Eps,
    MaxGradNorm,
    Momentum,
    OptimizerName,
    Seed,
    Sparse,
    StateDtype,
    Threads,
    WeightDecay,
    WorkloadName,
    complete_schedules,
)
from adamantine.errors import UsageError
from adamantine.version import __version__

__all__ = ["Abort", "ClickException", "app", "command"]

# Typer carries its own copy of Click or imports it, depending on its version.
ClickException: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Adam for PyTorch without its three costs: memory, step time, and doubt.",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adamantine {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def adamantine(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool,
        Option("--version", help="Print the version and exit.", callback=_print_version,
               is_eager=True),
    ] = False,
) -> None:  # fmt: skip
    """Adam for PyTorch without its three costs: memory, step time, and doubt."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
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
        bool, Option("--resume", help="Go on with the run in --out, with its options.")
    ] = False,
    allow_changed_data: Annotated[
        bool,
        Option("--allow-changed-data", help="Resume although the data are not the same any more."),
    ] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the run in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model and test it after every epoch."""
    from adamantine.cli.train.config import options_of_config
    from adamantine.cli.train.options import TrainOptions
    from adamantine.cli.train.run import options_to_resume, run_train

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
    given = {name: value for name, value in options.items() if _is_given(context, name)}
    if resume and out is not None:
        options |= options_to_resume(out) | given
    if config is not None:
        options |= options_of_config(config, given) | given
    run_train(
        TrainOptions(**options),
        out=out,
        if_exists="resume" if resume else "overwrite" if overwrite else "refuse",
        allow_changed_data=allow_changed_data,
        batch_size_given=_is_given(context, "batch_size"),
        as_json=as_json,
    )


@app.command()
def demo(
    out: Annotated[Path, Option(help="Folder for demo.png and demo.json.")] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """Train the 8×8 digits with Adam and with SGD, and compare."""
    from adamantine.cli.demo.run import run_demo

    run_demo(out, as_json=as_json)


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="mnist")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a data set if it is not there, and verify every file of it."""
    from adamantine.cli.data.run import run_data

    run_data(name, data_dir, as_json=as_json)


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List optimizers and workloads."""
    from adamantine.cli.listing.run import run_list

    run_list(as_json=as_json)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


app.command()(studies.compare)
app.command()(studies.tune)
app.command()(studies.report)
app.command()(studies.trace)
app.command("lr-find")(searches.lr_find)

command = typer.main.get_command(app)
