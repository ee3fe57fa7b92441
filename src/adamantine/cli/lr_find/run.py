"""``adamantine lr-find``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from adamantine import workloads
from adamantine.cli.interrupt import Interrupt, Interrupted
from adamantine.cli.options.optimizers import check_settings, check_sparse
from adamantine.cli.train.options import find_device, use_threads
from adamantine.cli.train.output import SECONDS_BETWEEN_UPDATES
from adamantine.errors import CheckpointError, UsageError
from adamantine.records.lr_find import LrFindRecord
from adamantine.report.lr_find import lr_find_png
from adamantine.study.lr_find.lr_find import check_search, find_learning_rate
from adamantine.train.files import write_atomically, write_text

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class LrFindOptions:
    """What was asked for."""

    workload: str
    optimizer: str
    settings: Mapping[str, Any]
    seeds: int
    steps: int
    low: float
    high: float
    batch_size: int
    batch_size_given: bool
    seed: int
    threads: int | None
    device: str
    data_dir: Path | None


def run_lr_find(options: LrFindOptions, out: Path, *, as_json: bool) -> None:
    """Search as asked, print what was found, and leave the picture and the record in `out`.

    What can be wrong with the request is looked for before any data is loaded.
    """
    check_settings(options.optimizer, options.settings)
    check_search(options.seeds, options.steps, options.low, options.high, options.seed)
    use_threads(options.threads, options.workload)
    device = find_device(options.device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the folder {out}: {error.strerror}; choose another one with --out"
        ) from error
    workload = workloads.load(options.workload, options.data_dir, progress=sys.stderr.isatty())
    if options.batch_size_given and not workloads.in_memory(workload.train):
        raise UsageError(
            f"workload {options.workload} brings batches of its own; leave out --batch-size"
        )
    check_sparse(options.optimizer, options.settings, workload.model())
    watch = Watch()
    try:
        with watch.interrupt:
            record = find_learning_rate(
                workload,
                options.optimizer,
                settings=options.settings,
                seeds=options.seeds,
                steps=options.steps,
                low=options.low,
                high=options.high,
                batch_size=options.batch_size,
                seed=options.seed,
                device=device,
                on_step=watch.on_step,
            )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written") from None
    finally:
        watch.close()
    picture, data = out / "lr_find.png", out / "lr_find.json"
    png = lr_find_png(record)
    write_atomically(picture, lambda file: file.write(png))
    write_text(data, json.dumps(record.to_json(), indent=2, allow_nan=False) + "\n")
    if as_json:
        print(json.dumps({"picture": str(picture), **record.to_json()}, allow_nan=False))
    else:
        print(summary(record))
        print(f"Picture: {picture}\nRecord: {data}")


def summary(record: LrFindRecord) -> str:
    """What was found, in a few lines."""
    found, low, high = record.suggestion, record.low, record.high
    diverges = (
        "not up to the end of the search"
        if record.diverges_at is None
        else f"at {record.diverges_at:.2g}"
    )
    seeds = f"{record.seeds} seed{'s' if record.seeds > 1 else ''}"
    return (
        f"Learning rate: {found.value:.2g} ({found.least:.2g} to {found.most:.2g} over {seeds})\n"
        f"Range: {low.value:.2g} to {high.value:.2g} work in short trainings\n"
        f"Diverges: {diverges}\n"
        f"Why: {record.reason}\n"
        f"Cost: {record.steps_taken:,} steps"
    )


class Watch:
    """Stops at a Ctrl-C, and draws a bar for each run where standard error is a terminal."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        self._progress = _bar() if sys.stderr.isatty() else None
        self._next_update = 0.0

    def on_step(self, what: str, step: int, steps: int) -> None:
        """Move the bar, ten times a second at most."""
        self.interrupt.check()
        now = monotonic()
        if self._progress and now >= self._next_update:
            self._next_update = now + SECONDS_BETWEEN_UPDATES
            if not self._progress.tasks:
                self._progress.start()
                self._progress.add_task("")
            task = self._progress.task_ids[0]
            self._progress.update(task, description=what, completed=step, total=steps, refresh=True)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._progress:
            self._progress.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,  # a thread that draws would take time from the steps
        redirect_stdout=False,
        redirect_stderr=False,
    )
