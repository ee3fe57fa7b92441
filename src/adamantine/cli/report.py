"""``adamantine report``."""

from pathlib import Path
from typing import Annotated

import typer

from adamantine.cli.options.declarations import AsJson


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a comparison, a search or a training.")],
    as_json: AsJson = False,
) -> None:
    """Rewrite the report of a finished study, or write that of a training; runs nothing."""
    from adamantine.cli.compare.report import STUDY, run_report
    from adamantine.cli.train.report import RUN, run_train_report
    from adamantine.cli.tune.report import run_tune_report
    from adamantine.study.tune.listener import TUNE

    kinds = {STUDY: run_report, TUNE: run_tune_report, RUN: run_train_report}
    found = next((kind for file, kind in kinds.items() if (folder / file).exists()), run_report)
    found(folder, as_json=as_json)
