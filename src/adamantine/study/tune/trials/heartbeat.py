"""Which processes of a search are still there; the trials of others go back to the queue."""

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic, time

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from adamantine.study.tune.trials.slots import SLOT, Slots

SEARCHER = "searcher"
NAME = ".searcher-{}.lock"
"""Of the file that a process holds a lock on."""
NAMELESS = 60
"""Seconds after which a running trial is given up whose process died before it signed it.

A lock's file that nobody holds and that is as old has been left by the dead, too.
"""


class Heartbeat:
    """Signs trials as this process's, and fails those of processes that are gone.

    In a database a process gives a sign of life now and then for each trial it runs, which is
    Optuna's heartbeat. Beside a journal file it holds a lock, which the system takes from it
    when it dies, however it dies: there is nothing to wait for.

    Parameters
    ----------
    folder
        Of the journal file; None for other storages.
    """

    def __init__(self, slots: Slots, storage: BaseStorage, folder: Path | None) -> None:
        self._slots, self._storage, self._folder = slots, storage, folder
        self.token = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._seen: dict[int, float] = {}
        self._lock: FileLock | None = None
        if folder is not None:
            self._lock = FileLock(folder / NAME.format(self.token))
            self._lock.acquire()

    def sign(self, trial: Trial) -> None:
        """Mark a trial as this process's; ``UpdateFinishedTrialError`` if it was taken away."""
        self.beat([trial])
        trial.set_user_attr(SEARCHER, self.token)

    def beat(self, trials: Iterable[Trial]) -> None:
        """Say that these trials are still being run."""
        if isinstance(self._storage, RDBStorage):
            for trial in trials:
                self._storage.record_heartbeat(trial._trial_id)

    def fail_the_dead(self, study: Study) -> None:
        """Fail the running trials of processes that are gone."""
        optuna.storages.fail_stale_trials(study)
        gone: dict[str, bool] = {}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if SLOT not in trial.user_attrs:
                continue
            token = trial.user_attrs.get(SEARCHER)
            if token is None:  # clocks of two machines differ: by when it was first seen here
                first = self._seen.setdefault(trial.number, monotonic())
                dead = monotonic() - first > NAMELESS
            else:
                dead = gone.setdefault(token, self._is_gone(token))
            if dead:
                self._slots.fail(trial)

    def close(self) -> None:
        """Take no further part."""
        if self._lock is not None and self._folder is not None:
            self._lock.release()
            self._lock = None
            with suppress(OSError):
                self._folder.joinpath(NAME.format(self.token)).unlink()
            for path in self._folder.glob(NAME.format("*")):
                if _age(path) > NAMELESS:  # a new one may not be locked yet
                    _removed(path)

    def _is_gone(self, token: str) -> bool:
        return (
            self._folder is not None
            and token != self.token
            and _removed(self._folder / NAME.format(token))
        )


def _removed(path: Path) -> bool:
    """Remove a lock's file, unless its process is alive."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    with suppress(OSError):
        path.unlink()
    lock.release()
    return True


def _age(path: Path) -> float:
    try:
        return time() - path.stat().st_mtime
    except OSError:
        return 0.0
