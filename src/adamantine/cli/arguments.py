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
    from adamantine.study.contestants import names

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


def complete_state_dtypes() -> list[str]:
    """What ``--state-dtype`` takes."""
    from adamantine.optim.options import StateDtype

    return list(get_args(StateDtype))


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
