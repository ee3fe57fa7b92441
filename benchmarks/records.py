"""What a benchmark found, and on what machine, as a JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from adamantine.train.files import write_text
from adamantine.train.machine import machine, versions
from benchmarks.measure import BenchmarkError

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    Parameters
    ----------
    quick
        Show that it runs, with few rounds and small cases; the figures mean nothing.
    rounds
        Instead of each benchmark's own number.
    data_dir
        Where MNIST lies; None for where `adamantine train` looks by itself.
    jobs
        Trainings at a time, one thread each; None for as many as there are cores.
    journals
        Folder of the journals of finished trainings; None keeps none.
    """

    quick: bool = False
    rounds: int | None = None
    data_dir: Path | None = None
    jobs: int | None = None
    journals: Path | None = None

    def rounds_or(self, usual: int, quick: int) -> int:
        """How many rounds to run."""
        return self.rounds or (quick if self.quick else usual)

    def jobs_or_cores(self) -> int:
        """How many trainings to run at a time."""
        return self.jobs or os.cpu_count() or 1

    def journal_of(self, benchmark: str) -> Path | None:
        """Where a benchmark notes its finished trainings."""
        return None if self.journals is None else self.journals / f"{benchmark}.jsonl"

    def command(self, benchmark: str) -> str:
        """The command that asks for this."""
        parts = [f"python -m benchmarks {benchmark}"]
        parts += ["--quick"] * self.quick
        parts += [f"--rounds {self.rounds}"] * (self.rounds is not None)
        parts += [f"--jobs {self.jobs}"] * (self.jobs is not None)
        parts += ["--data-dir DIR"] * (self.data_dir is not None)
        return " ".join(parts)


def record(benchmark: str, options: Options, other_work: float | None, findings: Record) -> Record:
    """The findings with where they come from. Paths and hosts stay out: records are shared."""
    return {
        "benchmark": benchmark,
        "command": options.command(benchmark),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": {**machine(), "system": platform.system()},
        "versions": versions(),
        "cores_busy_with_other_work": other_work,
        **findings,
    }


def origin(found: Record) -> str:
    """One line: how, when, on what, and beside what."""
    computer, other_work = found["machine"], found["cores_busy_with_other_work"]
    packages = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"`{found['command']}`, {found['date']}: {computer['processor']}, {computer['cores']} "
        f"cores ({other_work} of them busy with other work), {computer['system']}; {packages}"
    )


def save(found: Record, folder: Path) -> None:
    """Write one benchmark's file; the old one is replaced when the new one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    # Lists of samples on one line; a line begins in no string.
    text = re.sub(r"\[\n[\d\s.,eE+-]*\]", lambda match: re.sub(r"\s+", "", match[0]), text)
    write_text(_path(found["benchmark"], folder), text + "\n")


def load(benchmark: str, folder: Path) -> Record:
    """Read what :func:`save` wrote."""
    path = _path(benchmark, folder)
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"{path}: no samples to print ({error}); run `python -m benchmarks {benchmark}`"
        ) from error
    return found


def _path(benchmark: str, folder: Path) -> Path:
    return folder / f"{benchmark}.json"
