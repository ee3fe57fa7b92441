"""Who is taken for dead: those whose lock the system has taken, and nobody else."""

import os

import optuna
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from adamantine.study.tune.trials import heartbeat
from adamantine.study.tune.trials.heartbeat import NAME, NAMELESS, Heartbeat
from adamantine.study.tune.trials.slots import Slots
from adamantine.study.tune.trials.storage import open_storage, quietly


@pytest.fixture(autouse=True)
def _quiet():
    with quietly():
        yield


def opened(folder, count=2):
    """As another process would be there."""
    storage = open_storage(folder / "journal")
    study = optuna.create_study(storage=storage, study_name="one", load_if_exists=True)
    slots = Slots(study, count)
    slots.refill()
    return slots, Heartbeat(slots, storage, folder)


def locks(folder):
    return sorted(path.name for path in folder.glob(NAME.format("*")))


def aged(path):
    """Left there some time ago."""
    then = path.stat().st_mtime - NAMELESS - 1
    os.utime(path, (then, then))
    return path


def test_the_living_keep_their_trials_and_the_dead_lose_them(tmp_path):
    slots, first = opened(tmp_path)
    trial = slots.claim()
    first.sign(trial)
    others, second = opened(tmp_path)
    second.fail_the_dead(others.study)
    assert others.live()[0].state == TrialState.RUNNING
    first._lock.release()  # as the system does when a process dies
    second.fail_the_dead(others.study)
    assert 0 not in others.live()
    assert locks(tmp_path) == [NAME.format(second.token)]
    second.close()
    assert locks(tmp_path) == []


def test_who_leaves_takes_away_what_the_dead_have_left_and_no_lock_that_is_held_or_new(tmp_path):
    _, leaving = opened(tmp_path)
    held = FileLock(tmp_path / NAME.format("held"))
    with held:
        aged(tmp_path / NAME.format("held"))
        (tmp_path / NAME.format("new")).touch()  # made by a process that has not locked it yet
        (tmp_path / NAME.format("left")).touch()
        aged(tmp_path / NAME.format("left"))
        leaving.close()
        assert locks(tmp_path) == [NAME.format("held"), NAME.format("new")]


def test_a_trial_that_nobody_signed_is_given_up_by_the_watchers_own_clock(tmp_path, monkeypatch):
    slots, _ = opened(tmp_path)
    slots.claim()
    others, watcher = opened(tmp_path)
    now = [1e6]
    monkeypatch.setattr(heartbeat, "monotonic", lambda: now[0])
    for waited, state in ((0, 0), (NAMELESS, 0), (1, None)):
        now[0] += waited
        watcher.fail_the_dead(others.study)
        assert (0 in others.live()) == (state is not None)
