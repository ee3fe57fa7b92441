"""TensorBoard's event files: a folder a run, and its settings for the HParams table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from adamantine.trackers.identity import slug
from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun

START, END = metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG
STATUSES = {"finished": api_pb2.STATUS_SUCCESS}


class TensorBoardTracker:
    """Writes into ``tensorboard --logdir``'s folder.

    Event files cannot be corrected, only added to. So those of a run that is there already are
    read first, and what is missing goes into another one; half an event, at which a kill came, is
    passed over by all readers.

    Parameters
    ----------
    folder
        Made when the first run begins.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, EventFileWriter] = {}
        self._held: dict[str, set[tuple[str, int]]] = {}

    def begin(self, run: TrackedRun) -> None:
        """Its settings are a row of the HParams table; a study has only its verdict there."""
        if run.id in self._held:
            return
        place = self._place(run)
        self._held[run.id] = set(_held_in(place))
        if run.parent or not run.is_study:
            settings = {name: _plain(value) for name, value in run.settings.items()}
            # TensorBoard 2.x refuses a row without a name; the run's folder is none.
            self._add(run, [hparams_pb(settings, trial_id=run.id)], 0)

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """Scalars at their steps."""
        for look in looks:
            self._add(run, [_scalars(look.values)], look.step)

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """Scalars of the last step, the status, and what is said as text."""
        self._add(run, [_scalars(outcome.values)], outcome.step)
        said = [text_pb("text", outcome.text)] if outcome.text else []
        self._add(run, [*said, _session_end(outcome)], 0)
        self._close(run.id)
        if run.parent:  # a study has many
            del self._held[run.id]

    def close(self) -> None:
        """Write what is still in memory."""
        for identity in list(self._writers):
            self._close(identity)

    def _place(self, run: TrackedRun) -> Path:
        above = self._place(run.parent) if run.parent else self._folder
        return above / slug(run.name, run.id)

    def _add(self, run: TrackedRun, summaries: Sequence[Summary], step: int) -> None:
        held = self._held[run.id]
        for summary in summaries:
            new = [value for value in summary.value if (value.tag, step) not in held]
            if not new:
                continue
            writer = self._writers.get(run.id)
            if writer is None:
                writer = self._writers[run.id] = EventFileWriter(str(self._place(run)))
            event = Event(wall_time=time(), step=step, summary=Summary(value=new))
            writer.add_event(event)
            held |= {(value.tag, step) for value in new}
        if run.id in self._writers:
            self._writers[run.id].flush()

    def _close(self, identity: str) -> None:
        if writer := self._writers.pop(identity, None):
            writer.close()


def _held_in(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield value.tag, event.step


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])


def _session_end(outcome: Outcome) -> Summary:
    info = plugin_data_pb2.SessionEndInfo(
        status=STATUSES.get(outcome.status, api_pb2.STATUS_FAILURE), end_time_secs=time()
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    value = Summary.Value(tag=END, metadata=metadata.create_summary_metadata(data))
    return Summary(value=[value])


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
