"""What :func:`~adamantine.study.tune.tune.tune` does, step by step."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from adamantine.errors import UsageError
from adamantine.records import Candidate, SearchTrial, TrialRun, TuneRecord, finite
from adamantine.records.fields import to_json
from adamantine.study.runs.conditions import (
    build_context,
    check_used,
    conditions_of,
    default_jobs,
    fingerprint,
    gpus_of,
    resolution_of,
)
from adamantine.study.runs.in_process import InProcess
from adamantine.study.runs.journal import Journal
from adamantine.study.runs.ray_pool import RayPool
from adamantine.study.runs.ray_workers import RayWorkers
from adamantine.study.runs.tasks import Task, key_of
from adamantine.study.runs.tracking import StudyTracking, without_stats
from adamantine.study.runs.workers import Workers
from adamantine.study.settings.calls import call
from adamantine.study.settings.contestants import parse_contestants, sources_of
from adamantine.study.tune.best import best_of
from adamantine.study.tune.finals import Entry, candidate, entries, finalists, rechecks
from adamantine.study.tune.listener import FILES, TUNE, TuneListener
from adamantine.study.tune.plan import TunePlan
from adamantine.study.tune.result import TuneResult
from adamantine.study.tune.search import Search
from adamantine.study.tune.suggest import Spaces
from adamantine.study.tune.trials.storage import quietly, shown, storage_errors
from adamantine.study.tune.verdict import DEFAULTS, TUNED, Judgement, judge
from adamantine.trackers import Tracker
from adamantine.trackers.session import check as check_trackers
from adamantine.train.files import write_text
from adamantine.train.machine import machine, versions
from adamantine.workloads.protocol import Metric, Workload

RUNS, _, BEST, JOURNAL = FILES
NAME = "tune"
"""Of the study in Optuna's storage, where none is given."""
SECONDS_BETWEEN_CHECKS = 0.1
SECONDS_BETWEEN_REPORTS = 0.5
Runner = Workers | RayWorkers | InProcess


@dataclass(frozen=True)
class Outcome:
    """What a search's last runs came to."""

    candidates: tuple[Candidate, ...]
    tuned: Candidate | None
    defaults: Candidate
    judgement: Judgement
    recommended: Entry
    runs: tuple[TrialRun, ...]


class Tuning:
    """A search, from its request to its record.

    The parameters are those of :func:`~adamantine.study.tune.tune.tune`.
    """

    def __init__(
        self,
        workload: Workload | str,
        plan: TunePlan,
        *,
        out: Path | None,
        storage: str | None,
        study_name: str | None,
        data_dir: str | Path | None,
        skip_failed: bool,
        listener: TuneListener,
        trackers: Sequence[str | Tracker] = (),
        cluster: str | None = None,
    ) -> None:
        check_trackers(trackers, out)
        self._trackers, self._cluster = trackers, cluster
        self._skip_failed = skip_failed
        self._plan, self._out, self._listener = plan, out, listener
        self._spaces = Spaces(parse_contestants(plan.contestants), plan.space)
        # Once, at the start: a file that is edited meanwhile is not what the workers have loaded.
        self._sources = sources_of(self._spaces.contestants.values())
        folder = data_dir and Path(data_dir).resolve()  # workers may run in other folders
        self._build_context = partial(
            build_context, workload, plan, folder, with_stats=bool(trackers)
        )
        self._named = isinstance(workload, str)
        self._context = self._build_context()
        self._metric = self._context.tuning.metric
        self._conditions = conditions_of(workload, plan, self._context)
        self._where = storage if storage is not None else out and out / JOURNAL
        self._name = study_name or NAME
        _check_batches(self._spaces, self._conditions)
        check_used(plan, self._context)

    def run(self, jobs: int | None, command: str) -> TuneResult:
        """Search, judge, and write down what was found."""
        began = perf_counter()
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with ExitStack() as stack:
            stack.enter_context(quietly())
            stack.enter_context(storage_errors(self._where))
            search = stack.enter_context(closing(self._search()))
            tracking = stack.enter_context(closing(self._tracking()))
            reporter = _Reporter(search, self._listener, self._metric, tracking)
            runner = stack.enter_context(closing(self._runner(jobs, search, reporter)))
            _do_trials(search, runner, reporter)
            trials = search.trials()
            outcome = self._judge(trials, runner, tracking)
            important = search.importances((outcome.tuned or outcome.defaults).contestant)
            record = TuneResult(
                plan=self._described(),
                metric=self._metric.name,
                direction=self._metric.direction,
                trials=tuple(
                    replace(trial, run=run)
                    for trial, run in zip(trials, without_stats(t.run for t in trials), strict=True)
                ),
                candidates=outcome.candidates,
                tuned=outcome.tuned,
                defaults=outcome.defaults,
                **vars(outcome.judgement),
                best=best_of(
                    outcome.recommended,
                    self._plan,
                    self._conditions,
                    self._out / BEST if self._out is not None and self._named else None,
                ),
                runs=outcome.runs,
                versions=versions(),
                machine=machine(),
                importances=important,
                command=command,
                started=started,
                wall_seconds=perf_counter() - began,
            )
            if self._out is not None:
                _write(self._out, record)
            tracking.end(record)
        return record

    def _search(self) -> Search:
        shared = ("workload", "examples", "epochs", "batch_size", "schedule", "looks")
        plan = self._plan.to_json()
        # What all who work at a search have to agree in: not where, nor how many trials.
        agreed = {
            **{name: self._conditions[name] for name in shared},
            **{name: plan[name] for name in ("contestants", "pruning", "floor", "sampler", "seed")},
            "space": self._spaces.to_json(),
            "direction": self._metric.direction,
            "source": self._sources,
            "fingerprint": fingerprint(self._context, exact=False),
        }
        direction = self._metric.direction
        return Search(self._where, self._name, self._plan, self._spaces, agreed, direction)

    def _runner(self, jobs: int | None, search: Search, reporter: "_Reporter") -> Runner:
        build, context, on_look = self._build_context, self._context, search.on_look
        skip = self._skip_failed
        if self._cluster is not None:
            pool = RayPool(self._cluster, gpus=gpus_of(self._plan), jobs=jobs)
            return RayWorkers(pool, build, context, on_look, skip_failed=skip)
        if self._named:
            return Workers(
                jobs or default_jobs(self._plan),
                build,
                on_look,
                skip_failed=skip,
                device=self._plan.device,
            )
        return InProcess(context, reporter.on_step, on_look, skip_failed=skip)

    def _described(self) -> dict[str, Any]:
        return {
            **self._conditions,
            **self._plan.to_json(),
            "spaces": self._spaces.to_json(),
            "storage": shown(self._where),
            "study": self._name,
        }

    def _tracking(self) -> StudyTracking:
        plan, metric = self._described(), self._metric.name
        return StudyTracking(self._trackers, "tune", plan, metric, self._out, self._sources)

    def _judge(
        self, trials: Sequence[SearchTrial], runner: Runner, tracking: StudyTracking
    ) -> Outcome:
        """The best few settings and the defaults again, and the finals."""
        plan, metric = self._plan, self._metric
        contestants = self._spaces.contestants
        among = entries(trials, contestants, metric.direction, plan.training)
        path = self._out and self._out / RUNS
        listener = self._listener
        skip = self._skip_failed
        with closing(
            Journal(path, self._conditions, self._sources, listener.check, skip_failed=skip)
        ) as journal:
            again = [rechecks(entry, plan) for entry in among]
            rechecked = _do_runs(again, runner, journal, listener, tracking)
            found, plain = finalists(among, rechecked, metric.direction)
            places = {DEFAULTS: plain} if found is None else {TUNED: found, DEFAULTS: plain}
            last = [among[i].tasks("final", plan.seeds_of_finals) for i in places.values()]
            judged = _do_runs(last, runner, journal, listener, tracking)
            finals = dict(zip(places, judged, strict=True))
            before = _judged_before(journal, last)
        candidates = tuple(map(candidate, among, rechecked))
        tuned = None if found is None else candidates[found]
        runs = [*rechecked, *finals.values()]
        resolution = resolution_of(self._context, list(finals.values()))
        judgement = judge(
            tuned,
            candidates[plain],
            finals,
            metric.name,
            metric.direction,
            resolution,
            {role: _call(among[index]) for role, index in places.items()},
            before,
        )
        chosen = places[judgement.recommended]
        return Outcome(
            candidates,
            tuned,
            candidates[plain],
            judgement,
            among[chosen],
            without_stats(run for own in runs for run in own),
        )


def _call(entry: Entry) -> str:
    """``Adam(lr=0.0021) with batch_size=32``."""
    contestant = entry.contestant
    loop = ", ".join(f"{name}={value!r}" for name, value in entry.training.items())
    built = call(contestant.optimizer, contestant.with_values(entry.settings))
    return f"{built} with {loop}" if loop else built


class _Reporter:
    """Tells the listener how far the search has come, now and then."""

    def __init__(
        self, search: Search, listener: TuneListener, metric: Metric, tracking: StudyTracking
    ) -> None:
        self._search, self._listener, self._metric = search, listener, metric
        self._tracking = tracking
        self._next = 0.0

    def report(self) -> None:
        """Tell it now."""
        self._next = monotonic() + SECONDS_BETWEEN_REPORTS
        progress = self._search.progress()
        self._listener.on_search(progress, self._metric)
        self._tracking.tell(trial.run for trial in progress.done)

    def check(self) -> None:
        """Tell it if it is time to, and ask whether to stop."""
        if monotonic() >= self._next:
            self.report()
        self._listener.check()

    def on_step(self) -> None:
        """After a step of a run that is done in this process."""
        self._search.keep_up()
        self.check()


def _do_trials(search: Search, runner: Runner, reporter: _Reporter) -> None:
    """Do trials until all have a result, here or elsewhere."""
    while True:
        while runner.busy < runner.size and (task := search.next_task()) is not None:
            runner.add(task)
        reporter.check()
        if not runner.busy:
            if search.finished:
                break
            sleep(SECONDS_BETWEEN_CHECKS)  # others are at what is left
        for run in runner.finished(SECONDS_BETWEEN_CHECKS) if runner.busy else ():
            search.tell(run)
        search.keep_up()
    reporter.report()


def _do_runs(
    tasks: Sequence[Sequence[Task]],
    runner: Runner,
    journal: Journal,
    listener: TuneListener,
    tracking: StudyTracking,
) -> list[list[TrialRun]]:
    """Do the runs that are not in the journal yet, and give back all of them."""
    every = [task for own in tasks for task in own]
    new = {task.key: task for task in every if task.key not in journal}
    listener.on_finals(len(every), len(every) - len(new))
    tracking.tell(journal[task.key] for task in every if task.key not in new)
    for task in new.values():
        runner.add(task)
    while runner.busy:
        for run in runner.finished(SECONDS_BETWEEN_CHECKS):
            tracking.tell([journal.add(run)])
            del new[key_of(run)]
            listener.on_finals(len(every), len(every) - len(new))
        listener.check()
    return [[journal[task.key] for task in own] for own in tasks]


def _judged_before(journal: Journal, now: Sequence[Sequence[Task]]) -> int:
    """Settings other than defaults that had finals when this search had fewer trials."""

    def setting(of: Task | TrialRun) -> str:
        return json.dumps([of.contestant, finite(of.settings), finite(of.training)], sort_keys=True)

    present = {setting(task) for own in now for task in own}
    finals = [run for run in journal.runs if run.purpose == "final"]
    return len({setting(run) for run in finals if run.settings or run.training} - present)


def _check_batches(spaces: Spaces, conditions: Mapping[str, Any]) -> None:
    if "batch_size" in spaces.training and conditions["batch_size"] is None:
        raise UsageError(
            f"workload {conditions['workload']} brings batches of its own; leave batch_size out "
            "of the space"
        )


def _write(folder: Path, record: TuneRecord) -> None:
    for name, what in ((TUNE, record), (BEST, record.best)):
        write_text(folder / name, json.dumps(to_json(what), allow_nan=False) + "\n")
