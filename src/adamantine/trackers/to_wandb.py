"""Weights & Biases: a study's runs are a group, and the study is a run of that group."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb

from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun

PROJECT = "adamantine"
"""Where ``WANDB_PROJECT`` does not say another."""
ENDED = "adamantine-ended"
"""File beside W&B's own with the runs that are whole, one a line."""


class WandbTracker:
    """Writes to W&B, or offline with ``WANDB_MODE=offline``, into the folder of the run.

    W&B knows a run by its id: one that goes on is resumed there, and what it holds is passed over.
    An offline run cannot be resumed; one that has not ended is written anew from its first look,
    in the place of what the killed process left.

    Parameters
    ----------
    folder
        Of the run or study; None for W&B's own choice.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._runs: dict[str, Any] = {}
        self._next: dict[str, int] = {}
        self._ended = set(self._read_ended())

    def begin(self, run: TrackedRun) -> None:
        """Its settings are the configuration."""
        if run.id in self._runs or run.id in self._ended:
            return
        group = run.parent or run
        self._forget_offline(run.id)
        mine = wandb.init(
            id=run.id,
            name=run.name,
            group=f"{group.name} {group.id[:8]}",
            job_type=str(run.settings.get("purpose", "study" if run.is_study else "train")),
            project=None if wandb.Settings().project else PROJECT,
            dir=self._folder,
            config=dict(run.settings),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._runs[run.id], self._next[run.id] = mine, mine.step

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """A step of its history each."""
        for look in looks if run.id in self._runs else ():
            if look.step >= self._next[run.id]:
                self._runs[run.id].log(dict(look.values), step=look.step)
                self._next[run.id] = look.step + 1

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """Its summary."""
        if run.id not in self._runs:
            return
        mine = self._runs.pop(run.id)
        said = {"text": outcome.text} if outcome.text else {}
        mine.summary.update({**outcome.values, "status": outcome.status, **said})
        mine.finish(exit_code=int(outcome.status in ("diverged", "failed")))
        if self._folder is not None and run.parent:  # others may go on and end again
            self._ended.add(run.id)
            with (self._folder / "wandb" / ENDED).open("a", encoding="utf-8") as file:
                file.write(f"{run.id}\n")

    def close(self) -> None:
        """End what was not told the end of; it can go on."""
        for mine in self._runs.values():
            mine.finish(exit_code=1)
        self._runs.clear()

    def _read_ended(self) -> list[str]:
        path = (self._folder or Path()) / "wandb" / ENDED
        with suppress(OSError):
            return path.read_text(encoding="utf-8").split("\n")[:-1]
        return []

    def _forget_offline(self, identity: str) -> None:
        if self._folder is not None:
            for left in (self._folder / "wandb").glob(f"offline-run-*-{identity}"):
                shutil.rmtree(left)
