"""Verified download of MNIST: two mirrors, and no broken file is ever kept."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adamantine.errors import DataError
from adamantine.workloads.mnist.files import (
    FILES,
    FileCheck,
    MnistFile,
    MnistFolder,
    cache_folder,
    look_into,
    verify_file,
)

if TYPE_CHECKING:
    import requests

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = (5.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes on it."""

Report = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that have come and the bytes there are."""

Progress = bool | Report
"""True for a bar on the terminal, False for none, or your own :data:`Report`."""


def fetch_mnist(
    folder: Path | None = None,
    progress: Progress = False,
    *,
    files: Sequence[MnistFile] = FILES,
    mirrors: Sequence[str] = MIRRORS,
) -> list[FileCheck]:
    """Complete the four files in `folder`: verify existing ones and download missing ones.

    A damaged file in the user cache is replaced once its replacement has been downloaded and
    verified. In any other folder, a damaged file is reported and left alone.

    Parameters
    ----------
    folder
        A data folder; the user cache if None. Downloads go where some of the files already are,
        otherwise to its ``mnist/``.
    progress
        Whether and how to show the download.
    files, mirrors
        The files to fetch, and the addresses of folders that have them, tried in order.

    Raises
    ------
    DataError
        If no mirror provides a file, or it cannot be written.
    """
    root = cache_folder() if folder is None else folder
    found = look_into(root, files)
    wanted = [file for file in files if _is_wanted(file, found, replace=folder is None)]
    if wanted:
        with _reporting(progress) as report:
            for file in wanted:
                _replace(file, found, mirrors, report)
        found = look_into(root, files)
    return [verify_file(file, found) for file in files]


def _is_wanted(file: MnistFile, found: MnistFolder, replace: bool) -> bool:
    if file.name not in found.paths:
        return True
    return replace and not verify_file(file, found).ok


def _replace(
    file: MnistFile, found: MnistFolder, mirrors: Sequence[str], report: Report | None
) -> None:
    new = found.folder / f"{file.name}.gz"
    try:
        _download(file, new, mirrors, report)
        old = found.paths.get(file.name, new)
        if old != new:
            old.unlink()
    except OSError as error:
        raise DataError(
            f"{new}: cannot be written ({error.strerror or error});"
            " free the disk or give a folder you can write to with --data-dir"
        ) from error


def _download(file: MnistFile, path: Path, mirrors: Sequence[str], report: Report | None) -> None:
    """Fetch one file from the first mirror that has it; OSErrors are the disk's."""
    import pooch
    import requests

    failures = []
    for mirror in mirrors:
        downloader = pooch.HTTPDownloader(
            progressbar=_Meter(file.name, report) if report else False,
            chunk_size=1 << 16,
            timeout=TIMEOUT,
        )
        try:
            with _quiet(pooch.get_logger()):
                # Into a temporary file, hashed, then renamed.
                pooch.retrieve(
                    f"{mirror}{path.name}",
                    known_hash=f"sha256:{file.gz_sha256}",
                    fname=path.name,
                    path=path.parent,
                    downloader=downloader,
                )
            return
        except requests.RequestException as error:
            failures.append(f"{urlsplit(mirror).netloc}: {_reason(error)}")
        except ValueError:
            failures.append(f"{urlsplit(mirror).netloc}: sent something else (wrong SHA-256)")
    raise DataError(
        f"{path.name} could not be downloaded ({'; '.join(failures)}); check the network, or"
        " give a folder that holds MNIST's four files with --data-dir or $ADAMANTINE_DATA"
    )


def _reason(error: "requests.RequestException") -> str:
    """What went wrong with a request, in two words instead of urllib3's paragraph."""
    import requests

    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


class _Meter:
    """Pooch's progress bar protocol (`total`, `update`, `reset`, `close`) over a Report."""

    def __init__(self, name: str, report: Report) -> None:
        self.total = 0
        self._name = name
        self._report = report
        self._done = 0

    def update(self, amount: int) -> None:
        # Pooch counts whole chunks, so the last one overshoots.
        self._done = min(self._done + amount, self.total) if self.total else self._done + amount
        self._report(self._name, self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing to do: the display outlives the file."""


def _reporting(progress: Progress) -> AbstractContextManager[Report | None]:
    if progress is True:
        return _bar()
    return nullcontext(progress or None)


@contextmanager
def _bar() -> Iterator[Report]:
    """One bar a file on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    tasks = {}
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done, total=total or None)

        yield report


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Pooch announces each address on standard error; the bar says it better."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
