"""The options of ``adamantine demo``."""

from pathlib import Path
from typing import Annotated

from typer import Option

from adamantine.cli.options.declarations import AsJson


def demo(
    out: Annotated[Path, Option(help="Folder for demo.png and demo.json.")] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """Train the 8×8 digits with Adam and with SGD, and compare."""
    from adamantine.cli.demo.run import run_demo

    run_demo(out, as_json=as_json)
