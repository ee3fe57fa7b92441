"""Files that are there whole or not at all, whatever kills the process."""

import glob
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import BinaryIO

from adamantine.errors import CheckpointError

_TEMPORARY = re.compile(r"\.\d+-[0-9a-f]+\.tmp$")
ABANDONED = 3600
"""Seconds after which a file that is being written is taken for one that was left by the dead."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes, or leave it as it was.

    The bytes reach the disk before the name does, and the name before this returns: after a
    power cut `path` is the old file or the new one. What killed processes have left goes with
    a later write.

    Raises
    ------
    CheckpointError
        The folder cannot be written or the disk is full; the old file is still there.
    """
    remove_leftovers(path, ABANDONED)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    except RuntimeError as error:
        # torch.save closes its archive on the way out and so hides the file's own error.
        if not isinstance(error.__context__, OSError):
            raise
        raise cannot_write(path, error.__context__) from error


def write_bytes(path: Path, data: bytes) -> None:
    """:func:`write_atomically` for what is there already."""
    write_atomically(path, lambda file: file.write(data))


def write_text(path: Path, text: str) -> None:
    """:func:`write_atomically` for text, in UTF-8."""
    write_bytes(path, text.encode())


def remove_leftovers(path: Path, seconds: float = 0) -> None:
    """Delete the temporary files of `path` that nobody has written to for so long.

    Who has died cannot be told by its number: others may write from other machines.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # others are at it, too
            if _TEMPORARY.search(leftover.name) and leftover.stat().st_mtime <= time() - seconds:
                leftover.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and a rename needs no flush
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError, kept: str = "") -> CheckpointError:
    """The error for a file or folder that cannot be written.

    Parameters
    ----------
    kept
        What is still there; what stands at `path` if it is not said.
    """
    if isinstance(error, FileExistsError | NotADirectoryError):
        return CheckpointError(
            f"cannot write {path}: a file stands where a folder is expected; nothing was "
            "written. Choose another folder with --out"
        )
    kept = kept or ("the one written before is kept" if path.exists() else "nothing was written")
    return CheckpointError(
        f"cannot write {path}: {error.strerror or error}; {kept}. "
        "Free space or choose another folder with --out"
    )
