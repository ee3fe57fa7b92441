"""The folder that ``--out`` names, and a report's page and pictures in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adamantine.errors import CheckpointError
from adamantine.report import is_ours
from adamantine.train.files import write_bytes

PAGE = "report.html"


def make_folder(out: Path) -> None:
    """Make the folder that ``--out`` names, unless it is there.

    Raises
    ------
    CheckpointError
        It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the folder {out}: {error.strerror}; choose another one with --out"
        ) from error


def write_pictures(pictures: Mapping[str, bytes], names: Sequence[str], folder: Path) -> None:
    """Write pictures; of `names`, those that an earlier report has left and this one has not go."""
    for name, picture in pictures.items():
        write_bytes(folder / name, picture)
    for stale in (folder / name for name in names if name not in pictures):
        if stale.is_file() and is_ours(stale.read_bytes()):
            stale.unlink()
