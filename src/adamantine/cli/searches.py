"""The command that looks for a learning rate; registered in :mod:`adamantine.cli.app`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from adamantine.cli.arguments import (
    AsJson,
    DataDir,
    Device,
    complete_optimizers,
    complete_sparse_modes,
    complete_state_dtypes,
    complete_workloads,
)


def lr_find(
    context: typer.Context,
    workload: Annotated[
        str,
        Option(
            help="Name (see: adamantine list) or module:attribute.",
            autocompletion=complete_workloads,
        ),
    ] = "mnist",
    optimizer: Annotated[
        str, Option(help="Name; see: adamantine list.", autocompletion=complete_optimizers)
    ] = "adam",
    betas: Annotated[
        tuple[float, float] | None,
        Option(help="Decay rates of the moments, two numbers.", show_default="the optimizer's"),
    ] = None,
    eps: Annotated[
        float | None, Option(help="Added to the denominator.", show_default="the optimizer's")
    ] = None,
    weight_decay: Annotated[
        float | None, Option(help="Weight decay.", show_default="the optimizer's")
    ] = None,
    sparse: Annotated[
        str | None,
        Option(
            help="What sparse gradients do: lazy or exact.",
            show_default="as torch's of that name",
            autocompletion=complete_sparse_modes,
        ),
    ] = None,
    momentum: Annotated[
        float | None, Option(help="Momentum.", show_default="the optimizer's")
    ] = None,
    state_dtype: Annotated[
        str | None,
        Option(
            help="What the optimizer's states are kept in: float32, bfloat16 or int8.",
            show_default="the parameters' own",
            autocompletion=complete_state_dtypes,
        ),
    ] = None,
    max_grad_norm: Annotated[
        float | None,
        Option(help="Scale gradients down to this global norm.", show_default="they are not"),
    ] = None,
    seeds: Annotated[int, Option(help="Short trainings at each learning rate.")] = 5,
    steps: Annotated[int, Option(help="Steps of a short training.")] = 50,
    low: Annotated[float, Option(help="Smallest learning rate of the search.")] = 1e-7,
    high: Annotated[float, Option(help="Largest learning rate of the search.")] = 10.0,
    batch_size: Annotated[int, Option(help="Examples a step.")] = 64,
    seed: Annotated[int, Option(help="The first seed; the others follow it.")] = 0,
    threads: Annotated[
        int | None,
        Option(
            help="CPU threads.",
            show_default="1 for the smallest workloads, else torch's choice",
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[Path, Option(help="Folder for lr_find.png and lr_find.json.")] = Path(
        "runs/lr-find"
    ),
    as_json: AsJson = False,
) -> None:
    """Find learning rates that work, and one to begin with, by short trainings."""
    from adamantine.cli.lr_find import LrFindOptions, run_lr_find

    settings: dict[str, Any] = {
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "sparse": sparse,
        "momentum": momentum,
        "state_dtype": state_dtype,
        "max_grad_norm": max_grad_norm,
    }
    source = context.get_parameter_source("batch_size")
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
            batch_size_given=source is not None and source.name != "DEFAULT",
            seed=seed,
            threads=threads,
            device=device,
            data_dir=data_dir,
        ),
        out,
        as_json=as_json,
    )
