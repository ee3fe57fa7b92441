"""Three long tables of CSV, to which lines are only ever added."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adamantine.errors import CheckpointError
from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun


class _Table:
    """A file whose lines are known by their first cells.

    Parameters
    ----------
    columns
        Its header.
    key
        So many of them tell a line from all others.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: int) -> None:
        self._path, self._key = path, key
        self._held: set[tuple[str, ...]] = set()
        if path.exists():
            self._read()
        if not path.exists() or not path.stat().st_size:
            self._append([columns])

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add those that are not there."""
        new = {tuple(map(str, row[: self._key])): row for row in rows}
        new = {key: row for key, row in new.items() if key not in self._held}
        if new:
            self._append(new.values())
            self._held |= new.keys()

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a kill came between two bytes of a line
            os.truncate(self._path, whole)
        rows = csv.reader(io.StringIO(data[:whole].decode("utf-8"), newline=""))
        self._held = {tuple(row[: self._key]) for row in rows}

    def _append(self, rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        with self._path.open("ab") as file:
            file.write(text.getvalue().encode())


class CsvTracker:
    """``settings.csv``, ``looks.csv`` and ``results.csv`` in a folder.

    Parameters
    ----------
    folder
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._settings = _Table(
                folder / "settings.csv", ("run", "setting", "value", "name", "parent"), 2
            )
            self._looks = _Table(folder / "looks.csv", ("run", "step", "quantity", "value"), 3)
            self._results = _Table(folder / "results.csv", ("run", "quantity", "value"), 2)
        except OSError as error:
            raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from error

    def begin(self, run: TrackedRun) -> None:
        """A line for each setting."""
        parent = run.parent.id if run.parent else ""
        self._settings.add(
            (run.id, name, _plain(value), run.name, parent) for name, value in run.settings.items()
        )

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """A line for each number."""
        self._looks.add(
            (run.id, look.step, name, repr(float(value)))
            for look in looks
            for name, value in look.values.items()
        )

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """A line for each number, for the status, and for what is said."""
        said = [("status", outcome.status), ("text", " ".join(outcome.text.split()))]
        numbers = [(name, repr(float(value))) for name, value in outcome.values.items()]
        self._results.add((run.id, name, value) for name, value in [*said, *numbers] if value)

    def close(self) -> None:
        """Nothing is open between two lines."""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
