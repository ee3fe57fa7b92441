"""A program in a process of its own, timed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.measure import BenchmarkError


@dataclass(frozen=True)
class Child:
    """What a finished process printed and took.

    Parameters
    ----------
    output
        Its standard output.
    seconds
        From its start to its end.
    cpu_seconds
        Of all its threads, in user and system mode; 0 where the system does not say (Windows).
    """

    output: str
    seconds: float
    cpu_seconds: float


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
    """Run `command` with `environment` on top of ours.

    Raises
    ------
    BenchmarkError
        It failed; with the last line of what it said.
    """
    before, start = os.times(), perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    seconds, after = perf_counter() - start, os.times()
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    cpu_seconds = sum(after[2:4]) - sum(before[2:4])
    return Child(done.stdout, seconds, cpu_seconds)
