"""The search for an optimizer's settings: many trials, the best few again, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adamantine.study.runs.conditions import check_place
from adamantine.study.tune.listener import TuneListener
from adamantine.study.tune.plan import TunePlan
from adamantine.study.tune.result import TuneResult
from adamantine.trackers import Tracker
from adamantine.workloads.protocol import Workload


def tune(
    workload: Workload | str,
    plan: TunePlan | Sequence[str],
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    data_dir: str | Path | None = None,
    skip_failed: bool = False,
    listener: TuneListener | None = None,
    command: str = "",
    trackers: Sequence[str | Tracker] = (),
    cluster: str | None = None,
) -> TuneResult:
    """Search an optimizer's settings, and say whether they are better than its defaults.

    Optuna chooses the trials. They are scored on validation data, and stopped early if they do
    badly. The best few are trained again on fresh seeds, and the best of these is compared with
    the defaults on the test set. See ``docs/tune.md``.

    Parameters
    ----------
    workload
        A name (see :func:`adamantine.workloads.names`) or ``module:attribute``, with runs in
        separate processes; or a workload object, with runs in this process.
    plan
        Optimizers and budgets, or just a list of optimizers.
    out
        Folder for the search (``optuna.journal``), the runs after it (``runs.jsonl``) and what
        was found (``tune.json``, ``best.json``). Repeat the call to resume a search that
        was stopped, or to share the work of one that is running. If None, nothing is kept.
    jobs
        Processes, one thread each; if None, as many as there are cores, or one for a GPU.
    storage
        URL of a database that Optuna supports, instead of the journal file.
    study_name
        The search's name in the storage. Calls with the same storage and name share one search.
    data_dir
        As for :func:`adamantine.workloads.load`.
    skip_failed
        Continue without a trial or a later run that raises an exception, and judge it as one that
        diverged. Otherwise the search stops there, and the next call repeats that run.
    listener
        Receives the progress.
    command
        The command line that repeats the search, for the record.
    trackers
        Told of every run as it ends and of the verdict: ``"tensorboard"``, ``"mlflow"``,
        ``"wandb"``, ``"csv"``, or any :class:`~adamantine.trackers.Tracker`. Of several processes
        that share a search, one tells of the runs of all.
    cluster
        As for :func:`~adamantine.study.compare.compare.compare`.

    Returns
    -------
    TuneResult
        A :class:`~adamantine.records.TuneRecord`: trials, verdict, and what is recommended.

    Raises
    ------
    UsageError
        An optimizer, a space or the storage's URL is wrong, or `jobs` is given with an object.
    CheckpointError
        `out` cannot be written, or the storage holds another search of this name.
    AdamantineError
        The storage cannot be used, or a run failed without diverging and `skip_failed` is false.

    Examples
    --------
    >>> from adamantine.study import TunePlan, tune
    >>> from adamantine.workloads import load
    >>> found = tune(load("digits"), TunePlan(("adam",), trials=3, epochs=1, seeds=2))
    >>> len(found.trials), found.best.optimizer
    (3, 'adam')
    """
    from adamantine.study.tune.tuning import Tuning  # brings Optuna, which takes a second

    check_place(workload, jobs, data_dir, cluster)
    return Tuning(
        workload,
        plan if isinstance(plan, TunePlan) else TunePlan(tuple(plan)),
        out=None if out is None else Path(out),
        storage=storage,
        study_name=study_name,
        data_dir=data_dir,
        skip_failed=skip_failed,
        listener=listener or TuneListener(),
        trackers=trackers,
        cluster=cluster,
    ).run(jobs, command)
