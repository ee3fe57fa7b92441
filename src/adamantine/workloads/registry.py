"""The built-in workloads by name, and the door to the user's own."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from adamantine.errors import UsageError
from adamantine.workloads import digits, mnist
from adamantine.workloads.download import Progress
from adamantine.workloads.protocol import Workload
from adamantine.workloads.user import load_user


class Listing(NamedTuple):
    """A built-in workload's line in ``adamantine list``."""

    name: str
    description: str
    data: str
    """Where its data come from."""


class _Builtin(NamedTuple):
    description: str
    data: str
    load: Callable[[Path | None, Progress], Workload]


_MNIST_DATA = "--data-dir, $ADAMANTINE_DATA, or an 11 MB download"


def _digits(data_dir: Path | None, progress: Progress) -> Workload:  # noqa: ARG001
    _refuse_data_dir("digits", data_dir)
    return digits.digits()


_BUILTINS = {
    "mnist": _Builtin(mnist.PERCEPTRON, _MNIST_DATA, mnist.mnist),
    "mnist-cnn": _Builtin(mnist.CONVOLUTIONAL, _MNIST_DATA, mnist.mnist_cnn),
    "digits": _Builtin(digits.DESCRIPTION, "comes with scikit-learn", _digits),
}


def names() -> list[Listing]:
    """The built-in workloads; reads no data."""
    return [Listing(name, builtin.description, builtin.data) for name, builtin in _BUILTINS.items()]


def load(
    name_or_spec: str, data_dir: Path | str | None = None, progress: Progress = False
) -> Workload:
    """A workload, ready to train on.

    Parameters
    ----------
    name_or_spec
        A built-in's name (see :func:`names`), or your own as ``module:attribute``.
    data_dir
        The folder of the data files, for workloads that read any.
    progress
        Whether a download is shown: True for a bar on the terminal, or a function that is
        called with the file's name, the bytes that have come and the bytes there are.

    Raises
    ------
    UsageError
        If there is no such workload, or it reads no files and `data_dir` is given.
    DataError
        If its data are missing, damaged or cannot be downloaded.
    WorkloadError
        If your own cannot be loaded or is not a workload.

    Examples
    --------
    >>> workload = load("digits")
    >>> workload.train[0].shape
    torch.Size([1437, 64])
    """
    folder = None if data_dir is None else Path(data_dir)
    if name_or_spec in _BUILTINS:
        return _BUILTINS[name_or_spec].load(folder, progress)
    if ":" not in name_or_spec:
        near = difflib.get_close_matches(name_or_spec, _BUILTINS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"there is no workload {name_or_spec!r}; {hint}there are {', '.join(_BUILTINS)},"
            " or your own as module:attribute"
        )
    _refuse_data_dir(name_or_spec, folder)
    return load_user(name_or_spec)


def _refuse_data_dir(name: str, data_dir: Path | None) -> None:
    if data_dir is not None:
        raise UsageError(f"workload {name} reads no data folder; leave out --data-dir {data_dir}")
