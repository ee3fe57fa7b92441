"""The options of ``adamantine trace``."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from adamantine.cli.options.declarations import AsJson, complete_contestants, complete_surfaces


def trace(
    contestants: Annotated[
        list[str] | None,
        typer.Argument(
            help="As for compare; give a learning rate to skip the search for one: adam:lr=0.1.",
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
