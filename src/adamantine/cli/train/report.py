"""The page of a training that has begun."""

import json
from pathlib import Path

from adamantine.cli.output.files import PAGE
from adamantine.cli.output.terminal import note
from adamantine.cli.train.output import epoch_lines
from adamantine.errors import CheckpointError
from adamantine.report.run.page import run_html
from adamantine.train import RunFolder
from adamantine.train.files import write_text

RUN = "run.json"


def run_train_report(folder: Path, *, as_json: bool) -> None:
    """Write the page of the run in `folder`; trains nothing.

    Raises
    ------
    CheckpointError
        There is no run, or it has no epoch yet.
    """
    record = RunFolder(folder).read()
    if record is None or not record.epochs:
        raise CheckpointError(f"the run in {folder} has no finished epoch yet")
    write_text(folder / PAGE, run_html(record))
    print(
        json.dumps(record.to_json(), allow_nan=False) if as_json else epoch_lines(record.epochs[-1])
    )
    note(f"Saved in {folder}: {PAGE}")
