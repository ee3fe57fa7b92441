"""MLflow: a study is a run, its runs are that one's children."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.tracking import MlflowClient

from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun

EXPERIMENT = "adamantine"
"""Where neither ``MLFLOW_EXPERIMENT_NAME`` nor ``MLFLOW_EXPERIMENT_ID`` says another."""
IDENTITY, STATUS = "adamantine.id", "adamantine.status"
"""Tags: by which a run is found again, and how it ended in this package's words."""
STATUSES = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
BATCH = {"metrics": 1_000, "params": 100}
"""As many as MLflow takes at once."""
LONGEST = 6_000
"""Characters of a parameter."""


class MlflowTracker:
    """Writes to the server or file that MLflow is set to, by default ``mlflow.db`` here.

    A run is found by its tag, and of a run that is there already the numbers are read before any
    are added.
    """

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._ids: dict[str, str] = {}
        self._held: dict[str, set[tuple[str, int]]] = {}
        self._running: set[str] = set()
        logging.getLogger("mlflow.store").setLevel(logging.WARNING)  # it tells of its tables
        self._experiment = self._find_experiment()

    def _find_experiment(self) -> str:
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    def begin(self, run: TrackedRun) -> None:
        """Find it, or make it; its settings are parameters."""
        if run.id in self._ids:
            return
        found = self._client.search_runs(
            [self._experiment], f"tags.`{IDENTITY}` = '{run.id}'", ViewType.ACTIVE_ONLY, 1
        )
        tags = {IDENTITY: run.id}
        if run.parent:
            tags["mlflow.parentRunId"] = self._ids[run.parent.id]
        if found:
            mine = self._ids[run.id] = found[0].info.run_id
            self._held[run.id] = self._metrics_of(mine, found[0].data.metrics)
            params = found[0].data.params
            self._client.update_run(mine, status="RUNNING")
        else:
            made = self._client.create_run(self._experiment, tags=tags, run_name=run.name)
            mine = self._ids[run.id] = made.info.run_id
            self._held[run.id], params = set(), {}
        self._running.add(run.id)
        new = [
            Param(name, str(value)[:LONGEST])
            for name, value in run.settings.items()
            if name not in params
        ]
        for start in range(0, len(new), BATCH["params"]):
            self._client.log_batch(mine, params=new[start : start + BATCH["params"]])

    def _metrics_of(self, run_id: str, names: Mapping[str, Any]) -> set[tuple[str, int]]:
        return {
            (metric.key, metric.step)
            for name in names
            for metric in self._client.get_metric_history(run_id, name)
        }

    def log(self, run: TrackedRun, looks: Sequence[TrackedLook]) -> None:
        """Metrics at their steps."""
        held, now = self._held[run.id], int(1_000 * time())
        new = [
            Metric(name, float(value), now, look.step)
            for look in looks
            for name, value in look.values.items()
            if (name, look.step) not in held
        ]
        for start in range(0, len(new), BATCH["metrics"]):
            part = new[start : start + BATCH["metrics"]]
            self._client.log_batch(self._ids[run.id], metrics=part)
            held |= {(metric.key, metric.step) for metric in part}

    def end(self, run: TrackedRun, outcome: Outcome) -> None:
        """Metrics of the last step, the status, and what is said as its description."""
        finite = {name: value for name, value in outcome.values.items() if not math.isnan(value)}
        self.log(run, [TrackedLook(outcome.step, finite)])
        mine, tags = self._ids[run.id], [RunTag(STATUS, outcome.status)]
        if outcome.text:
            tags.append(RunTag("mlflow.note.content", outcome.text))
        self._client.log_batch(mine, tags=tags)
        self._client.set_terminated(mine, STATUSES[outcome.status])
        self._running.discard(run.id)
        if run.parent:  # a study has many
            del self._ids[run.id], self._held[run.id]

    def close(self) -> None:
        """What has not ended was killed, as far as anybody can say."""
        for identity in self._running:
            self._client.set_terminated(self._ids[identity], "KILLED")
        self._running.clear()
