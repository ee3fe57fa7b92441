"""What trackers are told of a study."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adamantine.records import StudyRecord, TrialRun, TuneRecord
from adamantine.trackers import Tracker
from adamantine.trackers.identity import token_of
from adamantine.trackers.of_records import looks_of, outcome_of, run_of_study, study, verdict_of
from adamantine.trackers.session import Trackers


def without_stats(runs: Iterable[TrialRun]) -> tuple[TrialRun, ...]:
    """Runs as a study's record holds them: what only trackers are told stays in the journal."""
    return tuple(replace(run, stats=()) for run in runs)


class StudyTracking:
    """Tells trackers of finished runs, which are those of the journal.

    A run is told of when it is on the disk, and all that are there are told of when a study goes
    on. Since trackers know what they hold, a kill at any moment costs no number and doubles none.

    Parameters
    ----------
    wanted
        Names, and trackers of the caller's own.
    kind
        ``"compare"`` or ``"tune"``.
    plan
        All that the study was asked for; with another plan it is another study.
    metric
        The workload's.
    out
        The study's folder, if it has one.
    sources
        Sums over the classes of contestants that are the user's own.
    """

    def __init__(
        self,
        wanted: Sequence[str | Tracker],
        kind: str,
        plan: Mapping[str, Any],
        metric: str,
        out: str | Path | None,
        sources: Mapping[str, str],
    ) -> None:
        folder = None if out is None else Path(out)
        self._metric = metric
        self._trackers = Trackers(wanted, folder)
        self._told: set[str] = set()
        if self._trackers:
            said = {**plan, **({"sources": sources} if sources else {})}
            self._study = study(kind, token_of(folder), said)
            self._trackers.begin(self._study)

    def tell(self, runs: Iterable[TrialRun]) -> None:
        """Tell of runs that have ended; of each once."""
        for run in runs if self._trackers else ():
            known = run_of_study(run, self._study)
            if known.id not in self._told:
                self._trackers.begin(known)
                self._trackers.log(known, looks_of(run, self._metric))
                self._trackers.end(known, outcome_of(run, self._metric))
                self._told.add(known.id)

    def end(self, record: StudyRecord | TuneRecord) -> None:
        """Tell the verdict."""
        if self._trackers:
            self._trackers.end(self._study, verdict_of(record))

    def close(self) -> None:
        """Nothing more is told."""
        self._trackers.close()
