"""Options that several commands have, and what a shell completes them with."""

from pathlib import Path
from typing import Annotated, get_args

from typer import Option


def complete_optimizers() -> list[str]:
    """Names of optimizers."""
    from adamantine.optim.by_name import OPTIMIZERS

    return list(OPTIMIZERS)


def complete_contestants() -> list[str]:
    """What a comparison can be asked for by name."""
    from adamantine.study.settings.contestants import names

    return names()


def complete_workloads() -> list[str]:
    """Names of built-in workloads."""
    from adamantine import workloads

    return [listing.name for listing in workloads.names()]


def complete_surfaces() -> list[str]:
    """What ``--surface`` takes."""
    from adamantine.workloads.surfaces import SURFACES

    return [*SURFACES, "all"]


def complete_sparse_modes() -> list[str]:
    """What ``--sparse`` takes."""
    from adamantine.optim.sparse import MODES

    return list(MODES)


def complete_schedules() -> list[str]:
    """Names of learning rate schedules."""
    from adamantine.train.schedules import NAMES

    return list(NAMES)


def complete_parallel() -> list[str]:
    """What ``--parallel`` takes."""
    from adamantine.train.processes.launch import KINDS

    return list(KINDS)


def complete_trackers() -> list[str]:
    """What ``--log`` takes."""
    from adamantine.trackers.session import names

    return names()


def complete_state_dtypes() -> list[str]:
    """What ``--state-dtype`` takes."""
    from adamantine.optim.usage.options import StateDtype

    return list(get_args(StateDtype))


Log = Annotated[
    list[str] | None,
    Option(
        help="Also log to tensorboard, mlflow, wandb or csv; may be repeated.",
        autocompletion=complete_trackers,
        show_default="nothing else",
    ),
]
Export = Annotated[
    Path | None,
    Option(
        help="Folder for runs, looks, settings and pairs as CSV and Parquet.",
        show_default="no tables",
    ),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
DataDir = Annotated[
    Path | None,
    Option(
        help="Folder of the data files.", show_default="$ADAMANTINE_DATA, else the user's cache"
    ),
]
Device = Annotated[str, Option(help="cpu, cuda, cuda:1 …; auto prefers cuda.")]
Jobs = Annotated[
    int | None,
    Option(help="Processes, one thread each.", show_default="as many as there are cores"),
]
Cluster = Annotated[
    str | None,
    Option(help="Run on a Ray cluster: ray, or ray://HOST:PORT.", show_default="on this machine"),
]
SkipFailed = Annotated[
    bool,
    Option(
        "--skip-failed", help="Continue without runs that raise an exception; they count as lost."
    ),
]
WorkloadName = Annotated[
    str,
    Option(
        help="Name (see: adamantine list) or module:attribute.",
        autocompletion=complete_workloads,
    ),
]
OptimizerName = Annotated[
    str, Option(help="Name; see: adamantine list.", autocompletion=complete_optimizers)
]
Epochs = Annotated[int, Option(help="Passes over the training data.")]
BatchSize = Annotated[int, Option(help="Examples per step.")]
StudySchedule = Annotated[
    str, Option(help="Learning rate schedule, as for train.", autocompletion=complete_schedules)
]
Looks = Annotated[int, Option(help="Validations per epoch.")]
Seed = Annotated[int, Option(help="Where all random numbers come from.")]
Threads = Annotated[
    int | None,
    Option(
        help="CPU threads.",
        show_default="1 for the smallest workloads, else torch's choice",
    ),
]

# The optimizers' settings; None leaves one to the optimizer.
Betas = Annotated[
    tuple[float, float] | None,
    Option(help="Decay rates of the moments, two numbers.", show_default="the optimizer's"),
]
Eps = Annotated[
    float | None, Option(help="Added to the denominator.", show_default="the optimizer's")
]
WeightDecay = Annotated[float | None, Option(help="Weight decay.", show_default="the optimizer's")]
Momentum = Annotated[float | None, Option(help="Momentum.", show_default="the optimizer's")]
Sparse = Annotated[
    str | None,
    Option(
        help="What sparse gradients do: lazy or exact.",
        show_default="as torch's of that name",
        autocompletion=complete_sparse_modes,
    ),
]
StateDtype = Annotated[
    str | None,
    Option(
        help="What the optimizer's states are kept in: float32, bfloat16 or int8.",
        show_default="the parameters' own",
        autocompletion=complete_state_dtypes,
    ),
]
MaxGradNorm = Annotated[
    float | None,
    Option(help="Scale gradients down to this global norm.", show_default="they are not"),
]
