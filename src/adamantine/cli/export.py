"""``adamantine export``, and ``--export``: a study as long tables."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished comparison or search.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for the tables.", show_default="export in FOLDER")
    ] = None,
) -> None:
    """Write runs, looks, settings and pairs of a finished study as CSV and Parquet."""
    from adamantine.cli.compare.report import STUDY, read_study
    from adamantine.cli.output.tables import write_tables
    from adamantine.cli.tune.report import read_tune
    from adamantine.study.tune.listener import TUNE

    is_search = (folder / TUNE).exists() and not (folder / STUDY).exists()
    write_tables(read_tune(folder) if is_search else read_study(folder), to or folder / "export")
