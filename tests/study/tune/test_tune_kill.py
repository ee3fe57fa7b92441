"""Processes of a search are killed on the way: no trial is lost, and none is there twice."""

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import optuna
import postgres
import pytest
import searcher
from optuna.trial import TrialState

from adamantine.study import tune
from adamantine.study.tune.trials.slots import RESULTS, SLOT
from adamantine.study.tune.trials.storage import close_storage, open_storage, quietly
from adamantine.study.tune.tuning import JOURNAL, NAME

TRIALS = searcher.PLAN.trials
KILLS = (4, 14, 26)
"""After so many results."""


def begin(folder, url):
    here = Path(__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, here / "searcher.py", folder, *([url] if url else [])]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE)


@contextmanager
def reading(where):
    """What tells the search's trials, as Optuna itself reads them."""
    with quietly():
        storage = open_storage(where)

        def trials():
            if NAME not in [study.study_name for study in storage.get_all_studies()]:
                return []
            study = optuna.load_study(study_name=NAME, storage=storage)
            return study.get_trials(deepcopy=False)

        try:
            yield trials
        finally:
            close_storage(storage)


def results(trials):
    return [trial for trial in trials() if trial.state in RESULTS]


def run_and_kill(folders, url, trials):
    """How many trials each of the processes says there are."""
    processes = [begin(folder, url) for folder in folders]
    try:
        for number, count in enumerate(KILLS):
            while len(results(trials)) < count:
                time.sleep(0.1)
            place = number % 2
            processes[place].kill()
            processes[place].wait()
            processes[place].stdout.close()
            processes[place] = begin(folders[place], url)
        return [int(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
@pytest.mark.slow
def test_two_processes_and_three_kills(kind, tmp_path):
    with nullcontext() if kind == "journal" else postgres.server() as url:
        where = url or tmp_path / "a" / JOURNAL
        folders = [tmp_path / "a"] * 2 if url is None else [tmp_path / "a", tmp_path / "b"]
        with reading(where) as trials:
            said = run_and_kill(folders, url, trials)
            left = trials()
    assert said == [TRIALS] * 2
    slots = Counter(trial.user_attrs[SLOT] for trial in left if trial.state in RESULTS)
    assert slots == Counter(range(TRIALS))
    assert not [trial for trial in left if trial.state == TrialState.RUNNING]
    assert any(trial.state == TrialState.FAIL and SLOT in trial.user_attrs for trial in left)
    assert not [path for folder in folders for path in folder.glob(".searcher*")]


@pytest.mark.slow
def test_what_a_killed_process_was_at_is_done_with_the_same_settings(tmp_path, monkeypatch):
    process = begin(tmp_path, None)
    with reading(tmp_path / JOURNAL) as trials:
        while not any(t.state == TrialState.RUNNING and t.params for t in trials()):
            time.sleep(0.05)
        process.kill()
        process.wait()
        process.stdout.close()
        (lost,) = (trial for trial in trials() if trial.state == TrialState.RUNNING)
    monkeypatch.setattr(searcher.Slow, "pause", 0)
    found = tune(searcher.workload, searcher.PLAN, out=tmp_path)
    assert len(found.trials) == TRIALS
    again = found.trials[lost.user_attrs[SLOT]]
    # Settings are written one by one: those that were not yet, are drawn now.
    assert lost.params.items() <= again.drawn.items()


@pytest.mark.slow
def test_killed_workers_cost_their_runs_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMANTINE_TEST_MARKS", str(tmp_path))
    monkeypatch.setenv("ADAMANTINE_TEST_KILLS", "3")
    plan = replace(searcher.PLAN, trials=12)
    found = tune("cheap:deadly", plan, jobs=3)
    assert len(list(tmp_path.iterdir())) == 3
    assert [trial.number for trial in found.trials] == list(range(12))
    alone = tune(searcher.cheap.workload, plan)
    assert [trial.drawn for trial in found.trials] == [trial.drawn for trial in alone.trials]
