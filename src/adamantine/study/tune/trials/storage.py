"""Where a search keeps its trials: Optuna's journal file, or any database that Optuna takes."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from adamantine.errors import AdamantineError, CheckpointError, UsageError
from adamantine.train.files import cannot_write

HEARTBEAT = 15
"""Seconds between two signs of life in a database."""
GRACE = 60
"""Seconds without one after which a trial goes back to the queue."""
SECRET = re.compile(r"([?&](?:\w*pass\w*|pwd)=)[^&]*", re.IGNORECASE)
"""A password among a URL's options."""


def open_storage(where: str | Path | None) -> BaseStorage:
    """Optuna's storage at a URL, or in a journal file at a path; None keeps it in memory.

    Raises
    ------
    UsageError
        The URL is none, or its driver is not installed.
    AdamantineError
        The database cannot be reached.
    CheckpointError
        The file cannot be written, or is no journal.
    """
    if where is None:
        return InMemoryStorage()
    if isinstance(where, Path):
        return _journal(where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(where, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
    except ArgumentError as error:
        raise UsageError(
            f"storage is {shown(where)!r}, expected a URL such as sqlite:///tune.db or "
            "postgresql+psycopg://user@host/database"
        ) from error
    except ImportError as error:
        missing = error.__cause__ or error
        raise UsageError(
            f"storage {shown(where)} needs a driver that is not installed ({missing}); for "
            "PostgreSQL: pip install 'adamantine[postgresql]'"
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise AdamantineError(f"cannot use storage {shown(where)}: {_reason(error)}") from error


def close_storage(storage: BaseStorage) -> None:
    """Let go of a database's connections."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def shown(where: str | Path | None) -> str:
    """A storage in messages and records: passwords of a URL are left out."""
    if where is None:
        return "memory"
    if isinstance(where, Path):
        return str(where)
    try:
        url = make_url(where)
    except ArgumentError:  # whatever stands where a password might
        return SECRET.sub(r"\1***", re.sub(r"(?<=[:/]).*@", "***@", where))
    return SECRET.sub(r"\1***", url.render_as_string(hide_password=True))


@contextmanager
def storage_errors(where: str | Path | None) -> Iterator[None]:
    """What an open storage raises when it is lost, as this package's error, in one line."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise AdamantineError(
            f"cannot use storage {shown(where)}: {_reason(error)}; trials that are finished are "
            "kept there, and the same command goes on with them"
        ) from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return " ".join(str(getattr(cause, "orig", None) or cause).split())


@contextmanager
def quietly() -> Iterator[None]:
    """Optuna without its log lines and notes on what is experimental, both meant for others."""
    level = optuna.logging.get_verbosity()
    alembic = logging.getLogger("alembic").level
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)
            logging.getLogger("alembic").setLevel(alembic)


class _Lock(BaseJournalFileLock):
    """The system's, which a process loses with its life; Optuna's own would outlive it by 30 s."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class _JournalFile(JournalFileBackend):
    """Optuna's journal, which neither a full disk nor a kill leaves with half a line in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), lock_obj=_Lock(path.with_name(f".{path.name}.lock")))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all of them or none; begin with a whole line, whatever was killed before."""
        with get_lock_file(self._lock):
            size = self._cut_half_a_line()
            try:
                super().append_logs(logs)
            except OSError as error:
                with suppress(OSError):
                    os.truncate(self._path, size)
                kept = "trials that are finished are kept"
                raise cannot_write(self._path, error, kept=kept) from error

    def _cut_half_a_line(self) -> int:
        """The file's size when that is done."""
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read(1) in (b"", b"\n"):
                return size
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
        os.truncate(self._path, whole)
        return whole


def _journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_JournalFile(path))
    except OSError as error:
        raise cannot_write(path, error) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise CheckpointError(
            f"{path} is no journal of Optuna's ({error}); choose another folder with --out"
        ) from error
