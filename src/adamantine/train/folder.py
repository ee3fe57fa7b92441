"""A run's folder: what is in it, and who may write there.

``run.json``
    The run's record without its epochs.
``metrics.jsonl``
    One epoch a line. Each line is also in the checkpoint, from which it is written anew on
    resuming: whatever moment a run is killed at, the two agree when it goes on.
``checkpoint.pt``
    The state after the last finished epoch.
``curves.png``
    What :mod:`adamantine.report` draws from the first two.
``stats.png``
    Likewise, of a run whose steps were measured.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from adamantine.errors import CheckpointError
from adamantine.records import RunRecord, parse, parse_lines
from adamantine.train.checkpoint import Checkpoint, State, metrics_text
from adamantine.train.files import remove_leftovers, write_text
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.train.resuming import resumed

IfExists = Literal["refuse", "resume", "overwrite"]


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path
        The folder; made when the run begins.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.run = self.path / "run.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.curves = self.path / "curves.png"
        self.stats = self.path / "stats.png"

    def read(self) -> RunRecord | None:
        """The run that is in the folder, None where there is none.

        Raises
        ------
        CheckpointError
            Naming the file that cannot be read and why.
        """
        if not self.run.exists():
            return None
        try:
            header = parse(self.run.read_text(encoding="utf-8"), str(self.run))
            lines = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
            record = RunRecord.from_json(header, str(self.run))
            return replace(record, epochs=parse_lines(lines, str(self.metrics)))
        except (OSError, UnicodeDecodeError, CheckpointError) as error:
            raise CheckpointError(
                f"cannot read the run in {self.path}: {error}. Nothing in it was changed; choose "
                "another folder with --out"
            ) from error

    def claim(self, if_exists: IfExists) -> RunRecord | None:
        """The run to go on with, None to begin one; changes nothing.

        Raises
        ------
        CheckpointError
            The folder holds a run that must not be replaced, or one that cannot be read.
        """
        if if_exists == "overwrite":
            return None
        earlier = self.read()
        if earlier and if_exists == "refuse":
            raise CheckpointError(self._refusal(earlier))
        return earlier

    def files(self) -> list[Path]:
        """The run's files that are there."""
        names = (self.run, self.metrics, self.checkpoint, self.curves, self.stats)
        return [path for path in names if path.exists()]

    def begin(
        self,
        record: RunRecord,
        state: State,
        if_exists: IfExists,
        *,
        allow_changed_data: bool = False,
        processes: Alone = ALONE,
    ) -> RunRecord:
        """Make the folder `record`'s own, or put `record` and `state` where the run in it was.

        Nothing that is there is touched before it is certain that the run can go on from it or
        may replace it.

        Returns
        -------
        `record` with the epochs that are already done; with status ``finished`` if it is.

        Raises
        ------
        CheckpointError
            The folder cannot be written, holds a run that must not be replaced, or one that
            was configured differently (see :func:`~adamantine.train.resuming.resumed`).
        """
        found = partial(self._found, record, if_exists, allow_changed_data)
        record, checkpoint = processes.first(found)
        if checkpoint is not None:
            epochs = checkpoint.restore(state, self.checkpoint, processes)
            record = replace(record, epochs=epochs)
        if record.status != "finished":
            processes.first(partial(self._write_beginning, record))
        return record

    def _write_beginning(self, record: RunRecord) -> None:
        self._make()
        for path in (self.run, self.metrics, self.checkpoint):
            remove_leftovers(path)
        if not record.epochs:
            # The name first: without a checkpoint a run starts anew, which is always right.
            for stale in (self.checkpoint, self.curves, self.stats):
                stale.unlink(missing_ok=True)
        write_text(self.metrics, metrics_text(record.epochs))
        self.write_header(record)

    def save(self, record: RunRecord, state: State, processes: Alone = ALONE) -> None:
        """Write what the last epoch gave; the checkpoint first, for it holds the rest."""
        checkpoint = Checkpoint.of(state, record.configuration, record.epochs, processes)
        processes.first(partial(self._write, checkpoint))

    def _write(self, checkpoint: Checkpoint) -> None:
        checkpoint.save(self.checkpoint)
        write_text(self.metrics, checkpoint.metrics)

    def write_header(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        write_text(self.run, json.dumps(record.header(), indent=2, allow_nan=False) + "\n")

    def _found(
        self, record: RunRecord, if_exists: IfExists, allow_changed_data: bool
    ) -> tuple[RunRecord, Checkpoint | None]:
        """`record` as the run in the folder goes on, and from where; None from the start."""
        earlier = self.claim(if_exists)
        if earlier is None:
            return record, None
        record = replace(record, started=earlier.started)
        checkpoint = Checkpoint.load(self.checkpoint) if self.checkpoint.exists() else None
        if checkpoint is None and earlier.status == "finished":
            raise CheckpointError(
                f"{self.path} holds a finished run whose {self.checkpoint.name} is gone; "
                "choose another folder with --out, or replace it with --overwrite"
            )
        then = earlier.configuration
        if checkpoint is not None:
            then = parse(checkpoint.configuration, str(self.checkpoint))
        configuration = resumed(
            then,
            record.header()["configuration"],
            done=checkpoint.epochs if checkpoint else 0,
            folder=self.path,
            allow_changed_data=allow_changed_data,
        )
        record = replace(record, configuration=configuration)
        if checkpoint and earlier.status == "finished":
            is_done = checkpoint.epochs == configuration["epochs"]
            record = replace(record, status="finished" if is_done else record.status)
        return record, checkpoint

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot make the folder {self.path}: {error.strerror}; "
                "choose another one with --out"
            ) from error

    def _refusal(self, earlier: RunRecord) -> str:
        done = f"{len(earlier.epochs)} epochs done"
        if earlier.status == "finished":
            return (
                f"{self.path} holds a finished run ({done}); choose another folder with --out, "
                "or replace it with --overwrite"
            )
        return (
            f"{self.path} holds an unfinished run ({earlier.status}, {done}); go on with it with "
            "--resume, or replace it with --overwrite"
        )
