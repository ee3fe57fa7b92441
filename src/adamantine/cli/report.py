"""``adamantine report``."""

from pathlib import Path
from typing import Annotated

import typer

from adamantine.cli.options.declarations import AsJson


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished comparison or search.")],
    as_json: AsJson = False,
) -> None:
    """Rewrite the report of a finished study; runs nothing."""
    from adamantine.cli.compare.report import STUDY, run_report
    from adamantine.cli.tune.report import run_tune_report
    from adamantine.study.tune.listener import TUNE

    is_search = (folder / TUNE).exists() and not (folder / STUDY).exists()
    (run_tune_report if is_search else run_report)(folder, as_json=as_json)
