"""Where MNIST lies; benchmarks do not download it."""

from __future__ import annotations

from pathlib import Path

from adamantine.errors import DataError
from adamantine.workloads.mnist.files import MnistFolder, find_mnist
from benchmarks.measure import MissingError


def needs_mnist(data_dir: Path | None) -> MnistFolder:
    """The folder that holds it.

    Raises
    ------
    MissingError
        It is not there.
    """
    try:
        folder = find_mnist(data_dir)
    except DataError as error:
        raise MissingError(str(error)) from error
    if folder is None:
        raise MissingError(
            "no MNIST here: run `adamantine data mnist` to download it, or name a folder that "
            "holds it with --data-dir or $ADAMANTINE_DATA"
        )
    return folder
