"""The comparison: tune every contestant on an equal budget, run the best again, and judge."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import perf_counter

from adamantine.records import TrialRun
from adamantine.study.compare.analysis import ContestantRuns, analyse
from adamantine.study.compare.plan import Plan
from adamantine.study.compare.progress import Progress
from adamantine.study.compare.result import Study
from adamantine.study.runs.conditions import (
    build_context,
    check_place,
    check_used,
    conditions_of,
    default_jobs,
    gpus_of,
    resolution_of,
)
from adamantine.study.runs.in_process import InProcess
from adamantine.study.runs.journal import Journal
from adamantine.study.runs.ray_pool import RayPool
from adamantine.study.runs.ray_workers import RayWorkers
from adamantine.study.runs.tracking import StudyTracking, without_stats
from adamantine.study.runs.workers import Workers
from adamantine.study.settings.contestants import parse_contestants, sources_of
from adamantine.study.settings.space import parse_space
from adamantine.trackers import Tracker
from adamantine.trackers.session import check as check_trackers
from adamantine.train.files import write_text
from adamantine.train.machine import machine, versions
from adamantine.workloads.protocol import Metric, Workload

SECONDS_BETWEEN_CHECKS = 0.1
JOURNAL, STUDY = "runs.jsonl", "study.json"


class Listener:
    """Receives the progress of a comparison; override the methods you need.

    An exception raised here stops the comparison; finished runs stay in the journal.
    """

    def on_plan(
        self, total: int, reused: Sequence[TrialRun], others: Sequence[str], metric: Metric
    ) -> None:
        """Called before the first run: at most `total` runs, of which `reused` are already known.

        `others` says how the conditions differ of earlier runs that cannot be used.
        """

    def on_reused(self, runs: Sequence[TrialRun]) -> None:
        """Called when runs of a later stage are already known."""

    def on_run(self, run: TrialRun) -> None:
        """A run has finished."""

    def check(self) -> None:
        """Called ten times a second, or after every step if runs are done in this process."""


def compare(
    workload: Workload | str,
    plan: Plan | Sequence[str],
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    data_dir: str | Path | None = None,
    skip_failed: bool = False,
    listener: Listener | None = None,
    command: str = "",
    trackers: Sequence[str | Tracker] = (),
    cluster: str | None = None,
) -> Study:
    """Compare optimizers on a workload: which one, with which settings, and how sure is that?

    Every contestant is tuned with the same number of trials on validation data. Its best
    settings are run again on fresh seeds; only these runs see the test set, once each. See
    ``docs/compare.md`` and ``docs/statistics.md``.

    Parameters
    ----------
    workload
        A name (see :func:`adamantine.workloads.names`) or ``module:attribute``, with runs in
        separate processes; or a workload object, with runs in this process.
    plan
        Contestants, seeds and budgets, or just a list of contestants.
    out
        Folder for the finished runs (``runs.jsonl``) and the result (``study.json``). Repeat the
        call to resume a comparison that was stopped. If None, nothing is kept.
    jobs
        Processes, one thread each; if None, as many as there are cores, or one for a GPU.
    data_dir
        As for :func:`adamantine.workloads.load`.
    skip_failed
        Continue without a run that raises an exception, and judge it as one that diverged.
        Otherwise the comparison stops there, and the next call repeats that run.
    listener
        Receives the progress.
    command
        The command line that repeats the comparison, for the record.
    trackers
        Told of every run as it ends and of the verdict: ``"tensorboard"``, ``"mlflow"``,
        ``"wandb"``, ``"csv"``, or any :class:`~adamantine.trackers.Tracker`. A comparison that
        goes on gives them what they miss.
    cluster
        ``"ray"`` or ``"ray://HOST:PORT"``: runs are tasks of a Ray cluster, as many at a time as
        it has processors, or `jobs`. The bits are the same (``docs/cluster.md``).

    Returns
    -------
    Study
        The result. Except for times, it is the same however often the comparison was interrupted.

    Raises
    ------
    UsageError
        A contestant, a setting or a space is wrong, or `jobs` is given with an object.
    CheckpointError
        `out` cannot be written, contains something else, or is in use by another process.
    AdamantineError
        A run failed without diverging, and `skip_failed` is false.

    Examples
    --------
    >>> from adamantine.study import Plan, compare
    >>> from adamantine.workloads import load
    >>> plan = Plan(("adam", "sgd"), seeds=2, budget=1, tuning_seeds=1, epochs=1)
    >>> study = compare(load("digits"), plan)
    >>> [contestant.name for contestant in study.contestants]
    ['adam', 'sgd']
    """
    began = perf_counter()
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if not isinstance(plan, Plan):
        plan = Plan((plan,) if isinstance(plan, str) else tuple(plan))
    listener = listener or Listener()
    check_place(workload, jobs, data_dir, cluster)
    check_trackers(trackers, None if out is None else Path(out))
    contestants = parse_contestants(plan.contestants)
    spaces = parse_space(plan.space, contestants)
    folder = data_dir and Path(data_dir).resolve()  # workers may run in other folders
    build = partial(build_context, workload, plan, folder, with_stats=bool(trackers))
    with ExitStack() as stack:
        runner: Workers | RayWorkers | InProcess
        if cluster is not None:
            context = build()
            pool = RayPool(cluster, gpus=gpus_of(plan), jobs=jobs)
            runner = RayWorkers(pool, build, context, skip_failed=skip_failed)
        elif isinstance(workload, str):
            size = jobs or default_jobs(plan)
            workers = Workers(size, build, skip_failed=skip_failed, device=plan.device)
            runner = stack.enter_context(closing(workers))
            runner.start(len(contestants) * plan.runs_of_each)
            context = build()
        else:
            context = build()
            runner = InProcess(context, listener.check, skip_failed=skip_failed)
        check_used(plan, context)
        metric = context.tuning.metric
        conditions = conditions_of(workload, plan, context)
        path = None if out is None else Path(out) / JOURNAL
        sources = sources_of(contestants)
        journal = Journal(path, conditions, sources, skip_failed=skip_failed)
        stack.enter_context(closing(journal))
        described = {**plan.to_json(), **conditions}
        tracking = stack.enter_context(
            closing(StudyTracking(trackers, "compare", described, metric.name, out, sources))
        )
        entries = {
            each.name: Progress(each, spaces.get(each.name, {}), plan, journal, metric.direction)
            for each in contestants
        }
        _run_all(entries, runner, plan, journal, listener, metric, tracking)
        runs = [entry.runs() for entry in entries.values()]
        analysis = analyse(
            described,
            metric.name,
            metric.direction,
            [
                ContestantRuns(each.name, each.spec, each.optimizer, entries[each.name].tried, own)
                for each, own in zip(contestants, runs, strict=True)
            ],
            resolution=resolution_of(context, runs),
        )
        study = Study(
            plan=described,
            metric=metric.name,
            direction=metric.direction,
            **vars(analysis),
            runs=without_stats(run for own in runs for run in own),
            versions=versions(),
            machine=machine(),
            command=command,
            started=started,
            wall_seconds=perf_counter() - began,
        )
        if out is not None:
            write_text(Path(out) / STUDY, json.dumps(study.to_json(), allow_nan=False) + "\n")
        tracking.end(study)
        return study


def _run_all(
    entries: Mapping[str, Progress],
    runner: Workers | RayWorkers | InProcess,
    plan: Plan,
    journal: Journal,
    listener: Listener,
    metric: Metric,
    tracking: StudyTracking,
) -> None:
    first = [task for entry in entries.values() for task in entry.next_tasks()]
    reused = [run for entry in entries.values() for run in entry.reused]
    listener.on_plan(len(entries) * plan.runs_of_each, reused, journal.others, metric)
    tracking.tell(reused)
    with closing(runner):
        for task in first:
            runner.add(task)
        while runner.busy:
            for run in runner.finished(SECONDS_BETWEEN_CHECKS):
                kept = journal.add(run)
                listener.on_run(kept)
                tracking.tell([kept])
                entry = entries[run.contestant]
                known = len(entry.reused)
                for task in entry.next_tasks():
                    runner.add(task)
                if again := entry.reused[known:]:
                    listener.on_reused(again)
                    tracking.tell(again)
            listener.check()
