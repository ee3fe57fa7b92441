"""Many trainings, several at a time, and a journal: what is finished stays finished.

A journal has one line of JSON for each finished run. Started again, only what is not in it is run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from benchmarks import child
from benchmarks.measure import BenchmarkError
from benchmarks.records import Options
from benchmarks.training_run import Result, Run

ROOT = Path(__file__).parents[1]


def finish(name: str, plan: Sequence[Run], options: Options) -> list[Result]:
    """Each run's result, in the plan's order."""
    journal = Journal(options.journal_of(name))
    missing = [run for run in plan if run not in journal]
    if len(missing) < len(plan):
        print(
            f"{name}: {len(plan) - len(missing)} of {len(plan)} runs are in {journal.path} "
            "already; delete it to start anew",
            file=sys.stderr,
        )
    pool = ThreadPoolExecutor(options.jobs_or_cores())
    try:
        running = {pool.submit(in_process, run, options.data_dir): run for run in missing}
        for count, done in enumerate(as_completed(running), 1):
            run = running[done]
            journal.add(run, done.result())
            print(
                f"{name}: {count} of {len(missing)}, {_label(run, done.result())}", file=sys.stderr
            )
    finally:
        pool.shutdown(cancel_futures=True)
    return [journal[run] for run in plan]


def _label(run: Run, result: Result) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in run.settings.items())
    return f"{run.workload}, {settings}, seed {run.seed}: {result['seconds']:.0f} s"


def in_process(run: Run, data_dir: Path | None = None) -> Result:
    """The result of a run that has a process and a thread of its own."""
    given = {**asdict(run), "data_dir": None if data_dir is None else str(data_dir.resolve())}
    done = child.run(
        [sys.executable, "-m", "benchmarks.training_run", json.dumps(given)],
        {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths()},
    )
    result: Result = json.loads(done.output)
    return result


def last(results: Sequence[Result], key: str) -> list[float]:
    """What each run ended with."""
    return [result["epochs"][-1][key] for result in results]


def paths() -> str:
    """Where a process of its own finds this package, whatever folder it starts in."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


class Journal:
    """Results by run, kept in a file if there is a path."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._results: dict[str, Result] = {}
        if path is not None and path.exists():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                self._read(line, f"{path}, line {number}")

    def _read(self, line: str, where: str) -> None:
        try:
            entry = json.loads(line)
            self._results[_key(Run(**entry["run"]))] = entry["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise BenchmarkError(
                f"{where}: expected a finished run as JSON, got {line[:80]!r}; delete the line"
            ) from error

    def __contains__(self, run: Run) -> bool:
        return _key(run) in self._results

    def __getitem__(self, run: Run) -> Result:
        return self._results[_key(run)]

    def add(self, run: Run, result: Result) -> None:
        """Keep a result; it is on the disk when this returns."""
        self._results[_key(run)] = result
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": asdict(run), "result": result}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _key(run: Run) -> str:
    return json.dumps(asdict(run), sort_keys=True)
