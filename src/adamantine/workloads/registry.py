"""The built-in workloads by name, and the door to the user's own."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from adamantine.errors import UsageError
from adamantine.workloads import digits, quadratic
from adamantine.workloads.mnist import finetune
from adamantine.workloads.mnist import workloads as mnist
from adamantine.workloads.mnist.download import Progress
from adamantine.workloads.protocol import Workload
from adamantine.workloads.text import chars, sources, words
from adamantine.workloads.user import load_user


class Listing(NamedTuple):
    """A built-in workload's line in ``adamantine list``."""

    name: str
    description: str
    size: str
    """Parameters and training examples."""
    metric: str
    """What it is judged by, and which way is better."""
    time: str
    """What five epochs of Adam take of one core's time; ``docs/workloads.md`` says how measured."""
    data: str
    """Where its data come from."""


_Loader = Callable[[Path | None, Progress], Workload]


def _without_files(name: str, build: Callable[[], Workload]) -> _Loader:
    def load_it(data_dir: Path | None, progress: Progress) -> Workload:  # noqa: ARG001
        _refuse_data_dir(name, data_dir)
        return build()

    return load_it


_MNIST_DATA = "--data-dir, $ADAMANTINE_DATA, or an 11 MB download"
_ACCURACY = "accuracy, higher is better"
_PER_CHARACTER = "accuracy per character, higher is better"
_CHARACTERS = "18,750 × 64 characters"

_BUILTINS: dict[str, tuple[Listing, _Loader]] = {
    listing.name: (listing, loader)
    for listing, loader in (
        (
            Listing(
                "mnist",
                mnist.PERCEPTRON,
                size="101,770 parameters, 60,000 images",
                metric=_ACCURACY,
                time="about 6 s",
                data=_MNIST_DATA,
            ),
            mnist.mnist,
        ),
        (
            Listing(
                "mnist-cnn",
                mnist.CONVOLUTIONAL,
                size="20,522 parameters, 60,000 images",
                metric=_ACCURACY,
                time="about 25 s",
                data=_MNIST_DATA,
            ),
            mnist.mnist_cnn,
        ),
        (
            Listing(
                "mnist-logistic",
                mnist.LOGISTIC,
                size="7,850 parameters, 60,000 images",
                metric=_ACCURACY,
                time="about 1.5 s",
                data=_MNIST_DATA,
            ),
            mnist.mnist_logistic,
        ),
        (
            Listing(
                "mnist-mlp",
                mnist.WIDE,
                size="1,796,010 parameters, 60,000 images",
                metric=_ACCURACY,
                time="about 40 s",
                data=_MNIST_DATA,
            ),
            mnist.mnist_mlp,
        ),
        (
            Listing(
                "mnist-dropout",
                mnist.DROPOUT,
                size="1,796,010 parameters, 60,000 images",
                metric=_ACCURACY,
                time="about 45 s",
                data=_MNIST_DATA,
            ),
            mnist.mnist_dropout,
        ),
        (
            Listing(
                "mnist-finetune",
                finetune.DESCRIPTION,
                size="20,522 parameters, 6,000 images",
                metric=_ACCURACY,
                time="about 3 s, after 5 s",
                data=_MNIST_DATA,
            ),
            finetune.mnist_finetune,
        ),
        (
            Listing(
                "digits",
                digits.DESCRIPTION,
                size="9,610 parameters, 1,437 images",
                metric=_ACCURACY,
                time="about 1 s",
                data="comes with scikit-learn",
            ),
            _without_files("digits", digits.digits),
        ),
        (
            Listing(
                "chars-rnn",
                chars.RECURRENT,
                size=f"118,049 parameters, {_CHARACTERS}",
                metric=_PER_CHARACTER,
                time="about 1 min",
                data=sources.DATA,
            ),
            _without_files("chars-rnn", chars.chars_rnn),
        ),
        (
            Listing(
                "chars-transformer",
                chars.ATTENTIVE,
                size=f"116,608 parameters, {_CHARACTERS}",
                metric=_PER_CHARACTER,
                time="about 1.5 min",
                data=sources.DATA,
            ),
            _without_files("chars-transformer", chars.chars_transformer),
        ),
        (
            Listing(
                "words-embedding",
                words.DESCRIPTION,
                size="52,256 parameters, 300,000 words",
                metric="cross-entropy in nats a word, lower is better",
                time="about 30 s",
                data=sources.DATA,
            ),
            _without_files("words-embedding", words.words_embedding),
        ),
        (
            Listing(
                "words-dense",
                words.DENSE,
                size="52,256 parameters, 300,000 words",
                metric="cross-entropy in nats a word, lower is better",
                time="about 30 s",
                data=sources.DATA,
            ),
            _without_files("words-dense", words.words_dense),
        ),
        (
            Listing(
                "quadratic",
                quadratic.describe(),
                size="100 parameters, 20,000 samples",
                metric="excess loss over the known minimum, lower is better",
                time="about 0.5 s",
                data="made from a seed",
            ),
            _without_files("quadratic", quadratic.quadratic),
        ),
    )
}


def names() -> list[Listing]:
    """The built-in workloads; reads no data."""
    return [listing for listing, _ in _BUILTINS.values()]


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
        Whether to show a download: True for a bar on the terminal, or a function that is called
        with the file's name, the bytes received and the total bytes.

    Raises
    ------
    UsageError
        If there is no such workload, or it reads no files and `data_dir` is given.
    DataError
        If its data are missing, damaged or cannot be downloaded.
    WorkloadError
        If your own workload cannot be loaded or is not a valid one.

    Examples
    --------
    >>> workload = load("digits")
    >>> workload.train[0].shape
    torch.Size([1437, 64])
    """
    folder = None if data_dir is None else Path(data_dir)
    if name_or_spec in _BUILTINS:
        return _BUILTINS[name_or_spec][1](folder, progress)
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
