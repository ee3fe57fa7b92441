"""Where a search keeps its trials: other searches, databases, full disks, damaged files."""

import errno
import os
import sys
from dataclasses import replace

import cheap
import optuna
import pytest
from torch import nn

import needs
from adamantine.errors import AdamantineError, CheckpointError, UsageError
from adamantine.study import TuneListener, tune
from adamantine.study.tune.trials.storage import open_storage
from adamantine.study.tune.tuning import JOURNAL, NAME
from study.searches import PLAN, Stop, without_times


def test_another_search_in_the_same_place_is_refused(tmp_path):
    tune(cheap.workload, replace(PLAN, trials=2), out=tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    changed = replace(PLAN, epochs=3, space=("lr=1e-3:1:log",))
    with pytest.raises(
        CheckpointError,
        match=r"study 'tune' in .*optuna.journal is another search: epochs was 2 and is now 3; "
        r"space.adam.lr.low was 1e-05 and is now 0.001; .*--study or --out",
    ):
        tune(cheap.workload, changed, out=tmp_path)
    assert (tmp_path / JOURNAL).read_bytes().startswith(before)
    tune(cheap.workload, replace(changed, trials=2), out=tmp_path, study_name="other")


def test_an_edited_optimizer_is_another_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = tmp_path / "edited_in_a_search.py"
    source.write_text("from torch.optim import SGD\n\nclass Mine(SGD):\n    pass\n")
    plan = replace(PLAN, contestants=("edited_in_a_search:Mine:lr=0.1",), trials=1)
    tune(cheap.workload, plan, out=tmp_path / "found")
    source.write_text(source.read_text() + "\nBETA = 0.9\n")
    with pytest.raises(CheckpointError, match=r"source of edited_in_a_search:Mine.* has changed"):
        tune(cheap.workload, plan, out=tmp_path / "found")


def test_a_study_that_is_not_ours_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    study = optuna.create_study(storage=url, study_name="theirs")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(
        CheckpointError, match=r"'theirs' in sqlite.* is not a search of adamantine"
    ):
        tune(cheap.workload, PLAN, storage=url, study_name="theirs")
    assert len(study.get_trials()) == 1


def test_other_data_or_another_model_of_the_same_name_are_refused(tmp_path):
    tune(cheap.workload, replace(PLAN, trials=2), out=tmp_path)
    inputs, targets = cheap.workload.train
    changed = [
        cheap.cheap(train=(100 * inputs, targets)),
        cheap.cheap(train=(inputs.flip(0), targets)),
        cheap.cheap(model=lambda: nn.Sequential(nn.Linear(cheap.FEATURES, cheap.CLASSES))),
        cheap.cheap(loss=lambda out, y: 5 * nn.functional.cross_entropy(out, y)),
    ]
    for workload in changed:
        with pytest.raises(CheckpointError, match="another search: the data, the model, the loss"):
            tune(workload, PLAN, out=tmp_path)
    # Another machine rounds otherwise, and can help.
    tune(cheap.cheap(train=(inputs * (1 + 1e-7), targets)), replace(PLAN, trials=2), out=tmp_path)


@pytest.mark.usefixtures("always_look")
def test_sqlite_keeps_a_search(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    plan = replace(PLAN, trials=3)
    with pytest.raises(KeyboardInterrupt):
        tune(cheap.workload, plan, storage=url, listener=Stop(1))
    found = tune(cheap.workload, plan, storage=url)
    assert without_times(found) == without_times(tune(cheap.workload, plan))


@pytest.mark.parametrize(
    ("url", "error", "saying"),
    [
        ("nonsense", UsageError, "storage is 'nonsense', expected a URL"),
        ("sqlite:////nowhere/at/all.db", AdamantineError, "cannot use storage sqlite.*unable to"),
        ("mysql+none://u:secret@h/d", UsageError, r"storage is 'mysql\+none://u:\*\*\*@h/d'"),
        ("mysql://u:secret@h/d", UsageError, r"storage mysql://u:\*\*\*@h/d needs a driver"),
        ("mysql://h/d?user=u&password=secret", UsageError, r"mysql://h/d\?password=\*\*\*&user=u"),
        ("postgresql//u:secret@h/d", UsageError, r"storage is 'postgresql/\*\*\*@h/d', expected"),
    ],
)
def test_a_storage_that_cannot_be_used(url, error, saying):
    with pytest.raises(error, match=saying) as caught:
        tune(cheap.workload, PLAN, storage=url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_import_that_fails_elsewhere_is_not_taken_for_a_driver():
    class Broken(TuneListener):
        def on_search(self, progress, metric):
            raise ImportError("no module named mine")

    with pytest.raises(ImportError, match="no module named mine"):
        tune(cheap.workload, replace(PLAN, trials=1), listener=Broken())


def test_a_database_that_nobody_answers_for():
    needs.module("psycopg", install=needs.PSYCOPG)
    with pytest.raises(
        AdamantineError, match=r"cannot use storage .*@127.0.0.1.*refused"
    ) as caught:
        tune(cheap.workload, PLAN, storage="postgresql+psycopg://u:secret@127.0.0.1:1/d")
    assert "secret" not in str(caught.value)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    sync = os.fsync
    calls = []
    plan = replace(PLAN, sampler="random")

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*trials that are finished are kept"):
        tune(cheap.workload, plan, out=tmp_path)
    monkeypatch.undo()
    assert (tmp_path / JOURNAL).read_bytes().endswith(b"\n")
    study = optuna.load_study(study_name=NAME, storage=open_storage(tmp_path / JOURNAL))
    done = [t for t in study.get_trials() if t.state.name in ("COMPLETE", "PRUNED")]
    assert done
    found = tune(cheap.workload, plan, out=tmp_path)
    assert [found.trials[t.user_attrs["slot"]].drawn for t in done] == [t.params for t in done]
    assert without_times(found) == without_times(tune(cheap.workload, plan))


def test_half_a_line_that_a_kill_left_is_cut_off(tmp_path):
    tune(cheap.workload, replace(PLAN, trials=2), out=tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert len(tune(cheap.workload, replace(PLAN, trials=3), out=tmp_path).trials) == 3


@pytest.mark.parametrize("text", ["hello\n", '{"a": 1}\n', "[]\n"])
def test_a_file_that_is_no_journal(tmp_path, text):
    (tmp_path / JOURNAL).write_text(text + text)
    with pytest.raises(CheckpointError, match="is no journal of Optuna's"):
        tune(cheap.workload, PLAN, out=tmp_path)
    assert (tmp_path / JOURNAL).read_text() == text + text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write .*--out"):
        tune(cheap.workload, PLAN, out=tmp_path / "file")
