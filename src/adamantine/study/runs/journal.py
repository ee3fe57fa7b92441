"""The runs that are done: an append-only file, one run a line, that a kill leaves whole."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adamantine.errors import CheckpointError
from adamantine.records import TrialRun, parse
from adamantine.records.fields import from_json, to_json
from adamantine.records.reading import as_object, required
from adamantine.study.runs.tasks import key_of
from adamantine.train.config import differences
from adamantine.train.files import cannot_write

SECONDS_BETWEEN_TRIES = 0.1


class Journal:
    """Finished runs by their task's key.

    Only runs under the same conditions count; the others stay in the file, unread.

    Parameters
    ----------
    path
        Of the file; None keeps runs in memory.
    conditions
        All but contestant, settings and seed that decides a run, as JSON.
    sources
        Sums over the classes of contestants that are the user's own; others need not be there.
    patience
        Called again and again while another process writes to the file, to wait for it; None
        does not wait.
    skip_failed
        Whether runs that failed count; else they are done again.

    Raises
    ------
    CheckpointError
        The file holds something else than runs, or cannot be read, or somebody writes to it.
    """

    def __init__(
        self,
        path: Path | None,
        conditions: Mapping[str, Any],
        sources: Mapping[str, str] | None = None,
        patience: Callable[[], None] | None = None,
        *,
        skip_failed: bool = False,
    ) -> None:
        self.path = path
        self._skip_failed = skip_failed
        self.conditions = conditions
        self.sources = sources or {}
        self.others: list[str] = []
        """How the conditions of runs that cannot be used differ, each way once."""
        self._runs: dict[str, TrialRun] = {}
        self._lock: FileLock | None = None
        if path is not None:
            self._open(path, patience)

    def __contains__(self, key: str) -> bool:
        return key in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, key: str) -> TrialRun:
        return self._runs[key]

    @property
    def runs(self) -> tuple[TrialRun, ...]:
        """All that can be used."""
        return tuple(self._runs.values())

    def add(self, run: TrialRun) -> TrialRun:
        """Keep a run, which is on the disk when this returns; gives it back as read from there.

        Raises
        ------
        CheckpointError
            The disk is full or the file cannot be written.
        """
        entry = {"conditions": self.conditions, "run": to_json(run)}
        if source := self.sources.get(run.contestant):
            entry["source"] = source
        line = json.dumps(entry, allow_nan=False) + "\n"
        if self.path is not None:
            _append(self.path, line)
        # The same numbers whether a study was interrupted or not: those that the file holds.
        kept = from_json(TrialRun, json.loads(line)["run"], "run")
        self._runs[key_of(kept)] = kept
        return kept

    def close(self) -> None:
        """Let others write to the file."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _open(self, path: Path, patience: Callable[[], None] | None) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        self._lock = _locked(path, patience)
        try:
            self._read(path)
        except BaseException:
            self.close()
            raise

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a kill came between two bytes of a line
            _truncate(path, whole)
        text = data[:whole].decode("utf-8", errors="replace")
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                self._take(line, f"{path}, line {number}")

    def _take(self, line: str, where: str) -> None:
        try:
            entry = as_object(parse(line, where), where)
            conditions = as_object(required(entry, "conditions", where), where)
            run = from_json(TrialRun, required(entry, "run", where), where)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; delete that line, or choose another folder with --out"
            ) from error
        if run.failed and not self._skip_failed:
            return
        changed = "; ".join(differences(conditions, self.conditions))
        source = self.sources.get(run.contestant)
        if not changed and source and source != entry.get("source"):
            changed = f"the source of {run.contestant} has changed"
        if not changed:
            self._runs[key_of(run)] = run
        elif changed not in self.others:
            self.others.append(changed)


def _locked(path: Path, patience: Callable[[], None] | None) -> FileLock:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=0 if patience is None else SECONDS_BETWEEN_TRIES)
            return lock
        except Timeout:
            if patience is None:
                raise CheckpointError(
                    f"another process is writing to {path.parent}; wait for it, or choose another "
                    "folder with --out"
                ) from None
            patience()
        except OSError as error:
            raise cannot_write(path, error) from error


def _truncate(path: Path, size: int) -> None:
    try:
        os.truncate(path, size)
    except OSError as error:
        raise cannot_write(path, error) from error


def _append(path: Path, line: str) -> None:
    try:
        with path.open("ab", buffering=0) as file:
            start, data = file.tell(), line.encode()
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(start)  # half a line would be taken for a kill's, or spoil the next
                raise
    except OSError as error:
        raise cannot_write(path, error, kept="the runs written before are kept") from error
