"""The journal of runs: what a kill, a full disk or a stranger may do to it."""

import errno
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamantine.errors import CheckpointError
from adamantine.records import Divergence, Look, TrialRun
from adamantine.study.runs.journal import Journal
from adamantine.study.runs.tasks import Task, key_of

CONDITIONS = {"workload": "cheap", "epochs": 5, "versions": {"torch": "2"}}
RUN = TrialRun(
    contestant="adam",
    purpose="tune",
    settings={"lr": 1e-3, "betas": (0.9, 0.99)},
    seed=3,
    looks=(Look(1, 0.5, 0.1, 0.7, 0.6, 0.9),),
    steps=2,
    seconds=0.1,
    parameters=4,
    state_bytes=32,
    diverged=Divergence(2, float("nan")),
)


def task(run):
    return Task(run.contestant, "adam", run.purpose, run.settings, run.seed)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study" / "runs.jsonl"


def written(path, *runs, conditions=CONDITIONS):
    journal = Journal(path, conditions)
    for run in runs:
        journal.add(run)
    journal.close()


def test_a_run_comes_back_from_the_file_as_it_was_given_back(path):
    journal = Journal(path, CONDITIONS)
    kept = journal.add(RUN)
    journal.close()
    again = Journal(path, CONDITIONS)
    again.close()
    assert task(RUN).key in again
    assert repr(again[task(RUN).key]) == repr(kept)
    assert kept.settings == {"lr": 1e-3, "betas": [0.9, 0.99]}
    assert key_of(kept) == task(RUN).key


floats = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(st.text(), st.one_of(floats, st.text(), st.booleans(), st.tuples(floats))),
    st.integers(0, 2**63),
)
@settings(max_examples=50)
def test_a_run_is_known_by_its_task(given_settings, seed):
    run = replace(RUN, settings=given_settings, seed=seed)
    journal = Journal(None, CONDITIONS)
    journal.add(run)
    assert task(run).key in journal
    assert task(replace(run, seed=seed + 1)).key not in journal
    assert task(replace(run, settings={**given_settings, "": None})).key not in journal or (
        given_settings.get("", 0) is None
    )


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_a_kill_cut_short_is_dropped_and_written_anew(path, cut):
    written(path, RUN, replace(RUN, seed=4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    journal = Journal(path, CONDITIONS)
    assert len(journal) == 1
    journal.add(replace(RUN, seed=4))
    journal.close()
    assert path.read_bytes() == whole


def test_runs_under_other_conditions_stay_and_are_not_used(path):
    written(path, RUN)
    other = {**CONDITIONS, "epochs": 2}
    written(path, replace(RUN, seed=9), conditions=other)
    journal = Journal(path, other)
    journal.close()
    assert len(journal) == 1
    assert journal.others == ["epochs was 5 and is now 2"]
    first = Journal(path, CONDITIONS)
    first.close()
    assert task(RUN).key in first


def test_an_edited_class_of_the_users_own_counts_for_its_runs_alone(path):
    mine = replace(RUN, contestant="mine")
    journal = Journal(path, CONDITIONS, {"mine": "aa"})
    journal.add(RUN)
    journal.add(mine)
    journal.close()
    for sources, there, others in (
        ({"mine": "aa"}, 2, []),
        ({"mine": "bb"}, 1, ["the source of mine has changed"]),
        ({}, 2, []),  # not in this study
    ):
        journal = Journal(path, CONDITIONS, sources)
        journal.close()
        assert (len(journal), journal.others) == (there, others)


def test_two_processes_do_not_write_at_once(path):
    journal = Journal(path, CONDITIONS)
    with pytest.raises(CheckpointError, match=r"another process is writing to .*--out"):
        Journal(path, CONDITIONS)
    journal.close()
    Journal(path, CONDITIONS).close()


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("not json", "line 1 is not valid JSON"),
        ("[]", "line 1: expected a JSON object"),
        ('{"conditions": {}}', "the key 'run' is missing"),
        ('{"conditions": {}, "run": {}}', "the key 'contestant' is missing"),
    ],
)
def test_a_strange_line_is_named_and_left(path, line, saying):
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(CheckpointError, match=saying) as caught:
        Journal(path, CONDITIONS)
    assert "delete that line" in str(caught.value)
    assert path.read_text() == line + "\n"
    path.unlink()
    Journal(path, CONDITIONS).close()  # nothing holds the lock


def test_a_full_disk_leaves_what_was_there(path, monkeypatch):
    written(path, RUN)
    before = path.read_bytes()
    journal = Journal(path, CONDITIONS)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*runs written before are kept"):
        journal.add(replace(RUN, seed=4))
    assert path.read_bytes() == before
    assert task(replace(RUN, seed=4)).key not in journal
    monkeypatch.undo()
    journal.add(replace(RUN, seed=4))
    journal.close()
    assert [json.loads(line)["run"]["seed"] for line in path.read_text().split("\n")[:-1]] == [3, 4]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write .*--out"):
        Journal(tmp_path / "file" / "runs.jsonl", CONDITIONS)
