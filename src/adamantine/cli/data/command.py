"""The options of ``adamantine data``."""

from typing import Annotated

import typer

from adamantine.cli.options.declarations import AsJson, DataDir


def data(
    name: Annotated[str, typer.Argument(help="mnist")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a data set if it is not there, and verify every file of it."""
    from adamantine.cli.data.run import run_data

    run_data(name, data_dir, as_json=as_json)
