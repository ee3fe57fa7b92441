"""Several trackers, opened by name, as one."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from adamantine.errors import AdamantineError, CheckpointError, UsageError
from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun, Tracker

LOCK = ".tracked.lock"


class Trackers:
    """Tells each of them, and closes what it has opened by name.

    Parameters
    ----------
    wanted
        Names, and trackers of the caller's own.
    folder
        Of the run or study: where those write that have no place of their own.

    Raises
    ------
    UsageError
        A name is unknown, its package is missing, a folder is needed, or another process is
        telling of the same folder's runs.
    """

    def __init__(self, wanted: Sequence[str | Tracker], folder: Path | None) -> None:
        check(wanted, folder)
        self._trackers: list[tuple[str, Tracker]] = []
        with ExitStack() as stack:
            if wanted and folder is not None:
                stack.callback(_locked(folder).release)
            for each in wanted:
                name = each if isinstance(each, str) else ""
                if isinstance(each, str):
                    with _named_errors(name):
                        each = stack.enter_context(closing(_NAMED[each].open(folder)))
                self._trackers.append((name, each))
            self._stack = stack.pop_all()

    def __bool__(self) -> bool:
        return bool(self._trackers)

    def begin(self, run: TrackedRun) -> None:
        """As :meth:`Tracker.begin`, and so on."""
        for name, tracker in self._trackers:
            with _named_errors(name):
                tracker.begin(run)

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """Tell each."""
        for name, tracker in self._trackers:
            with _named_errors(name):
                tracker.log(run, looks)

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """Tell each."""
        for name, tracker in self._trackers:
            with _named_errors(name):
                tracker.end(run, outcome)

    def close(self) -> None:
        """Close those that were opened here."""
        self._stack.close()


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """What a tracker that was opened by name raises, as this package's error."""
    try:
        yield
    except Exception as error:
        if not name or isinstance(error, AdamantineError):
            raise
        raise AdamantineError(
            f"--log {name} failed: {type(error).__name__}: {error}. What has finished is kept: the "
            "same command goes on, and without this --log it does so without it"
        ) from error


def check(wanted: Sequence[str | Tracker], folder: Path | None) -> None:
    """Raise :class:`UsageError` unless all can be opened; imports none of their packages."""
    for name in (each for each in wanted if isinstance(each, str)):
        if name not in _NAMED:
            raise UsageError(f"--log is {name!r}, expected {', '.join(_NAMED)}")
        named = _NAMED[name]
        if named.package and importlib.util.find_spec(named.package) is None:
            raise UsageError(
                f"--log {name} needs the package {named.package}: pip install 'adamantine[{name}]'"
            )
        if named.in_folder and folder is None:
            raise UsageError(f"--log {name} writes into the folder of the run; give --out DIR")
    if len(set(map(str, wanted))) < len(wanted):
        raise UsageError("--log names a tracker twice; once is enough")


def names() -> list[str]:
    """Those that can be opened by name."""
    return list(_NAMED)


class _Named(NamedTuple):
    open: Callable[[Path | None], Tracker]
    package: str = ""
    in_folder: bool = False


def _csv(folder: Path | None) -> Tracker:
    from adamantine.trackers.to_csv import CsvTracker

    assert folder
    return CsvTracker(folder / "csv")


def _mlflow(folder: Path | None) -> Tracker:  # noqa: ARG001 - MLflow has a place of its own
    from adamantine.trackers.to_mlflow import MlflowTracker

    return MlflowTracker()


def _tensorboard(folder: Path | None) -> Tracker:
    from adamantine.trackers.to_tensorboard import TensorBoardTracker

    assert folder
    return TensorBoardTracker(folder / "tensorboard")


def _wandb(folder: Path | None) -> Tracker:
    from adamantine.trackers.to_wandb import WandbTracker

    return WandbTracker(folder)


_NAMED: Mapping[str, _Named] = {
    "tensorboard": _Named(_tensorboard, "tensorboard", in_folder=True),
    "mlflow": _Named(_mlflow, "mlflow"),
    "wandb": _Named(_wandb, "wandb"),
    "csv": _Named(_csv, in_folder=True),
}


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another process is logging what is in {folder}, and does so for all who work there; "
            "leave --log out"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot write {folder / LOCK}: {error.strerror}") from error
    return lock
