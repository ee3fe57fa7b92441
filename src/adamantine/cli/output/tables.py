"""A study's tables in a folder."""

from importlib.util import find_spec
from pathlib import Path

from adamantine.cli.output.files import make_folder
from adamantine.cli.output.terminal import note
from adamantine.export import as_csv, as_parquet, tables
from adamantine.records import StudyRecord, TuneRecord
from adamantine.train.files import write_bytes

KINDS = {"csv": as_csv, "parquet": as_parquet}


def write_tables(record: StudyRecord | TuneRecord, folder: Path) -> None:
    """Write the tables as CSV, and as Parquet where that is installed; say which."""
    make_folder(folder)
    kinds = dict(KINDS)
    if find_spec("pyarrow") is None:
        del kinds["parquet"]
        note("No Parquet without pyarrow: pip install 'adamantine[parquet]'")
    written = []
    for name, rows in tables(record).items():
        for kind, encoded in kinds.items():
            path = folder / f"{name}.{kind}"
            write_bytes(path, encoded(name, rows))
            written.append(path.name)
    note(f"Saved in {folder}: {', '.join(written)}")
