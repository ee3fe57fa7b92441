"""A search as a whole, on workloads that train in milliseconds."""

import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import cheap
import optuna
import pytest
from torch import nn

from adamantine.errors import AdamantineError, CheckpointError, UsageError
from adamantine.records import Divergence, Look, TrialRun, TuneRecord
from adamantine.study import TuneListener, TunePlan, here, tune
from adamantine.study.finals import RECHECKED, RECHECKS
from adamantine.study.pruning import REDUCTION
from adamantine.study.storage import open_storage
from adamantine.study.tuning import BEST, JOURNAL, NAME, TUNE
from adamantine.workloads import Metric

PLAN = TunePlan(("adam",), trials=12, epochs=2, batch_size=32, seeds=2)


def without_times(found):
    """A search as JSON, but for what may differ between two times it is run."""

    def cut(value):
        if isinstance(value, dict):
            return {
                key: cut(element)
                for key, element in value.items()
                if "seconds" not in key and key not in ("started", "machine", "command", "storage")
            }
        return [cut(element) for element in value] if isinstance(value, list) else value

    return json.dumps(cut(found.to_json()), sort_keys=True)


class Stop(TuneListener):
    """Interrupts a search after some trials."""

    def __init__(self, after):
        self.after = after
        self.standings = []

    def on_search(self, standing, metric):
        self.standings.append(standing)
        if len(standing.done) >= self.after:
            raise KeyboardInterrupt


def test_a_search_from_end_to_end(tmp_path):
    found = tune(cheap.workload, PLAN, out=tmp_path)
    assert [trial.number for trial in found.trials] == list(range(12))
    assert {trial.run.seed for trial in found.trials} == {
        PLAN.seed_of_trial(number) for number in range(12)
    }
    again = [run for run in found.runs if run.purpose == "tune"]
    finals = [run for run in found.runs if run.purpose == "final"]
    assert len(again) == (RECHECKED + 1) * RECHECKS
    assert [run.seed for run in finals] == [1000, 1001] * 2
    seeds = [{run.seed for run in runs} for runs in (again, finals)]
    seeds.append({trial.run.seed for trial in found.trials})
    assert not seeds[0] & seeds[1] | seeds[1] & seeds[2] | seeds[0] & seeds[2]
    assert all(run.test_metric is None for run in again)
    best = sorted((t.score for t in found.trials if t.score is not None), reverse=True)
    assert [c.score for c in found.candidates if c.role == "found"] == best[:RECHECKED]
    assert found.tuned.recheck == max(c.recheck for c in found.candidates if c.role == "found")
    tuned, plain = finals[:2], finals[2:]
    assert found.tuned_metric.value == sum(run.test_metric for run in tuned) / 2
    difference = sum(a.test_metric - b.test_metric for a, b in zip(tuned, plain, strict=True)) / 2
    assert found.difference.difference.value == pytest.approx(difference)
    read = TuneRecord.from_json(json.loads((tmp_path / TUNE).read_text()))
    assert without_times(read) == without_times(found)
    best = json.loads((tmp_path / BEST).read_text())
    assert best["settings"] == json.loads(json.dumps(dict(found.best.settings)))


class Watched:
    """Test data that count how often they are read."""

    def __init__(self, batch):
        self.batch, self.reads = batch, 0

    def __iter__(self):
        self.reads += 1
        return iter([self.batch])


def test_settings_are_found_without_the_test_set():
    """Its labels are wrong, so what is best there is worst in truth."""
    inputs, targets = cheap.examples(100, 2)
    hostile = Watched((inputs, (targets + 1) % cheap.CLASSES))
    friendly = Watched((inputs, targets))
    found = [tune(cheap.cheap(test=data), PLAN) for data in (friendly, hostile)]
    assert found[0].tuned == found[1].tuned
    assert hostile.reads == 2 * PLAN.seeds  # once for each final run


@pytest.fixture
def _always_look(monkeypatch):
    monkeypatch.setattr("adamantine.study.tuning.SECONDS_BETWEEN_VIEWS", 0.0)


@pytest.mark.usefixtures("_always_look")
@pytest.mark.parametrize("after", [1, 6])
def test_an_interrupted_search_goes_on_and_is_the_same(tmp_path, after):
    # A model of the results sees them in another order, and may draw another setting then.
    plan = replace(PLAN, sampler="random")
    whole = tune(cheap.workload, plan)
    cut, rest = Stop(after), Stop(math.inf)
    with pytest.raises(KeyboardInterrupt):
        tune(cheap.workload, plan, out=tmp_path, listener=cut)
    resumed = tune(cheap.workload, plan, out=tmp_path, listener=rest)
    assert len(rest.standings[0].done) == len(cut.standings[-1].done)
    assert without_times(resumed) == without_times(whole)
    assert [trial.drawn for trial in resumed.trials] == [trial.drawn for trial in whole.trials]


@pytest.mark.usefixtures("_always_look")
def test_a_trial_that_is_interrupted_goes_back_to_the_queue(tmp_path):
    class InTheMiddle(TuneListener):
        def on_search(self, standing, metric):
            if any(running.looks for running in standing.running):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(cheap.workload, PLAN, out=tmp_path, listener=InTheMiddle())
    study = optuna.load_study(study_name=NAME, storage=open_storage(tmp_path / JOURNAL))
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["FAIL", *["WAITING"] * 12]
    found = tune(cheap.workload, PLAN, out=tmp_path)
    assert found.trials[0].drawn == study.get_trials()[0].params


def test_a_finished_search_trains_nothing_again(tmp_path, monkeypatch):
    first = tune(cheap.workload, PLAN, out=tmp_path)
    monkeypatch.setattr(here, "train_once", None)
    assert without_times(tune(cheap.workload, PLAN, out=tmp_path)) == without_times(first)


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    few = tune(cheap.workload, replace(PLAN, trials=4), out=tmp_path)
    more = tune(cheap.workload, PLAN, out=tmp_path)
    assert [t.drawn for t in more.trials[:4]] == [t.drawn for t in few.trials]
    assert len(more.trials) == 12


def test_pruning_spares_steps_and_keeps_the_floor():
    plan = replace(PLAN, trials=16, epochs=9, sampler="random", looks=1)
    whole = tune(cheap.workload, replace(plan, pruning=False))
    assert {trial.outcome for trial in whole.trials} == {"finished"}
    cut = tune(cheap.workload, plan)
    # The first rung is where the floor ends, the next ones three and nine times as far.
    ends = {trial.run.looks[-1].epoch for trial in cut.trials if trial.outcome == "pruned"}
    assert ends <= {1.0, float(REDUCTION)}
    assert 1.0 in ends
    later = tune(cheap.workload, replace(plan, floor=2))
    assert {t.run.looks[-1].epoch for t in later.trials if t.outcome == "pruned"} <= {2.0, 6.0}
    for one, other in zip(whole.trials, cut.trials, strict=True):
        assert one.drawn == other.drawn
        assert [look.validation_loss for look in other.run.looks] == [
            look.validation_loss for look in one.run.looks[: len(other.run.looks)]
        ]


def test_several_optimizers_are_one_search():
    plan = replace(PLAN, contestants=("adam", "sgd"), trials=15)
    found = tune(cheap.workload, plan)
    kinds = {trial.run.contestant for trial in found.trials}
    assert kinds == {"adam", "sgd"}
    for trial in found.trials:
        own = {name.partition(".")[0] for name in trial.drawn if name != "optimizer"}
        assert {name.removeprefix("1-") for name in own} == {trial.run.contestant}
    assert [c.contestant for c in found.candidates if c.role == "defaults"] == ["adam", "sgd"]


def test_the_loops_settings_are_searched_where_asked():
    space = ("batch_size=16|64,schedule=none|cosine", "lr=1e-3:1e-1:log")
    found = tune(cheap.workload, replace(PLAN, space=space, sampler="random", pruning=False))
    kinds = {(t.run.training["batch_size"], t.run.training["schedule"]) for t in found.trials}
    assert len(kinds) == 4
    for trial in found.trials:
        size = trial.run.training["batch_size"]
        assert trial.run.steps == 2 * math.ceil(180 / size)
        assert 1e-3 <= trial.run.settings["lr"] <= 1e-1
    assert (found.best.batch_size, found.best.schedule) in {*kinds, (32, "none")}


def test_complements_are_drawn_on_a_log_scale():
    plan = replace(PLAN, trials=60, epochs=1, sampler="random", pruning=False)
    found = tune(cheap.workload, replace(plan, space=("betas.1=0.9:0.9999:complement",)))
    values = [1 - trial.run.settings["betas"][1] for trial in found.trials]
    assert all(1e-4 * 0.99 <= value <= 0.1001 for value in values)
    assert 20 < sum(value < math.sqrt(1e-4 * 0.1) for value in values) < 40  # the middle


def test_a_diverged_trial_is_a_result():
    plan = replace(PLAN, contestants=("sgd",), space=("lr=1e-2:1e20:log",), pruning=False)
    found = tune(cheap.workload, plan)
    lost = [trial for trial in found.trials if trial.outcome == "diverged"]
    assert 0 < len(lost) < 12
    assert all(trial.score is None for trial in lost)
    assert all(c.score is not None for c in found.candidates if c.role == "found")


def test_where_everything_diverges_the_defaults_are_recommended():
    plan = replace(PLAN, contestants=("sgd",), space=("lr=1e18:1e20:log",), trials=4)
    found = tune(cheap.workload, plan)
    assert found.tuned is None
    assert found.recommended == "defaults"
    assert "No trial came to its end" in found.verdict[0].sentence
    assert found.best.settings == {}


def test_a_workload_whose_less_is_better():
    error = Metric("error", lambda out, y: (out.argmax(1) != y).float(), "min")
    more = tune(cheap.workload, replace(PLAN, sampler="random"))
    less = tune(cheap.cheap(metric=error), replace(PLAN, sampler="random"))
    assert [t.outcome for t in more.trials] == [t.outcome for t in less.trials]
    assert more.tuned.settings == less.tuned.settings
    assert more.tuned.recheck == pytest.approx(1 - less.tuned.recheck)
    assert more.recommended == less.recommended


def pretend(score):
    """A run that costs nothing: `score(task)` is what it ends with, in validation and test."""

    def train(arena, task, on_step=None, on_look=None):
        value = score(task)
        looks = []
        for number in range(1, 9):
            looks.append(Look(number, number / 4, 0.0, 1.0, 1.0, value))
            if on_look and on_look(looks[-1]):
                break
        pruned = len(looks) < 8
        return TrialRun(
            task.contestant,
            task.purpose,
            task.settings,
            task.seed,
            tuple(looks),
            8,
            0.0,
            1,
            1,
            test_loss=None if task.purpose == "tune" else 1.0,
            test_metric=None if task.purpose == "tune" else value,
            training=task.training,
            pruned=pruned,
        )

    return train


def noise(task):
    """Does not depend on the settings; another number for each run."""
    import hashlib
    import random

    text = json.dumps([task.seed, sorted(map(str, task.settings.items())), task.purpose])
    return random.Random(hashlib.sha256(text.encode()).digest()).gauss(0.9, 0.01)


@pytest.mark.slow
def test_where_there_is_nothing_to_find_the_defaults_are_recommended(monkeypatch):
    monkeypatch.setattr(here, "train_once", pretend(noise))
    plan = replace(PLAN, trials=12, seeds=5, space=("lr=1e-5:1e-1:log",))
    found = [tune(cheap.workload, replace(plan, seed=10_000 * n)) for n in range(100)]
    assert sum(each.recommended == "defaults" for each in found) >= 95
    # The search believes in its best trial, and the rechecks do not.
    excess = [each.tuned.score - 0.9 for each in found]
    honest = [each.tuned.recheck - 0.9 for each in found]
    assert sum(excess) / 100 > 0.008 > sum(honest) / 100


def test_where_there_is_something_to_find_it_is_recommended(monkeypatch):
    def score(task):
        rate = task.settings.get("lr", 1e-3)
        return noise(task) - 0.02 * abs(math.log10(rate) + 1.5)

    monkeypatch.setattr(here, "train_once", pretend(score))
    found = [
        tune(cheap.workload, replace(PLAN, trials=20, seeds=5, seed=10_000 * n)) for n in range(10)
    ]
    assert sum(each.recommended == "tuned" for each in found) >= 8


def test_diverged_finals_are_told(monkeypatch):
    """A setting that is good on all seeds but a final one is not recommended."""

    def fragile(arena, task, on_step=None, on_look=None):
        run = pretend(lambda task: 0.9 + 0.05 * ("lr" in task.settings))(arena, task)
        if task.purpose == "final" and task.seed == 1001 and task.settings:
            return replace(run, diverged=Divergence(3, math.nan), test_metric=None)
        return run

    monkeypatch.setattr(here, "train_once", fragile)
    found = tune(cheap.workload, PLAN)
    assert found.recommended == "defaults"
    assert "1 of 2 final runs diverged against 90.0" in found.verdict[0].sentence
    assert found.verdict[0].sentence.endswith("Do not use it: use the defaults.")


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"contestants": ()}, "there is no optimizer to tune"),
        ({"trials": 0}, "trials is 0, expected at least 1"),
        ({"floor": 0}, "floor is 0, expected at least 1"),
        ({"sampler": "grid"}, "sampler is 'grid', expected one of tpe, gp, cmaes, random"),
        ({"schedule": "cosin"}, "schedule is 'cosin', expected one of"),
        ({"seed": 2**63 - 1}, "seed is"),
        ({"contestants": ("adamm",)}, "there is no optimizer 'adamm'; did you mean 'adam'"),
        ({"space": ("lr=1:0",)}, "the low end 1 is not below the high end 0"),
        ({"space": ("momentum=0.5:0.9",)}, "none of adam has a setting 'momentum'"),
        ({"space": ("batch_size=0|32",)}, "expected batch sizes such as"),
        ({"space": ("batch_size=32:64",)}, "expected batch sizes such as"),
        ({"space": ("schedule=none|cosin",)}, "schedule is 'cosin', expected one of"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_written(changes, saying, tmp_path):
    with pytest.raises(UsageError, match=saying):
        tune(cheap.workload, replace(PLAN, **changes), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_batches_of_ones_own_have_no_size_to_search():
    data = [cheap.examples(32, seed) for seed in range(3)]
    workload = cheap.cheap(train=data, validation=cheap.examples(30, 7))
    with pytest.raises(UsageError, match="brings batches of its own; leave batch_size out"):
        tune(workload, replace(PLAN, space=("batch_size=32|64",)))


def test_jobs_need_a_name():
    with pytest.raises(UsageError, match="jobs needs a workload that other processes can load"):
        tune(cheap.workload, PLAN, jobs=2)


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


def test_a_study_that_is_not_ours_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    study = optuna.create_study(storage=url, study_name="theirs")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(
        CheckpointError, match=r"'theirs' in sqlite.* is not a search of adamantine"
    ):
        tune(cheap.workload, PLAN, storage=url, study_name="theirs")
    assert len(study.get_trials()) == 1


@pytest.mark.usefixtures("_always_look")
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
    ],
)
def test_a_storage_that_cannot_be_used(url, error, saying):
    with pytest.raises(error, match=saying) as caught:
        tune(cheap.workload, PLAN, storage=url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_database_that_nobody_answers_for():
    pytest.importorskip("psycopg", reason="psycopg, the driver for PostgreSQL, is not installed")
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


def test_processes_give_the_same_trials_where_nothing_is_modelled():
    plan = replace(PLAN, trials=6, sampler="random", pruning=False)
    alone, together = tune(cheap.workload, plan), tune("cheap:workload", plan, jobs=2)
    assert [t.score for t in alone.trials] == [t.score for t in together.trials]
    assert alone.verdict == together.verdict


def test_a_model_with_dropout_is_judged_without_it():
    """A look that stops a run, or does not, changes nothing in it."""
    model = lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(cheap.FEATURES, cheap.CLASSES))
    plan = replace(PLAN, trials=4, sampler="random")
    one, other = (tune(cheap.cheap(model=model), plan) for _ in range(2))
    assert without_times(one) == without_times(other)


def test_optuna_is_loaded_by_a_search_only():
    code = "import sys, adamantine.study; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_notebook_shows_what_was_found():
    found = tune(cheap.workload, replace(PLAN, trials=6, sampler="random"))
    assert found.verdict[0].sentence in str(found)
    assert found.best.python in str(found)
    assert "<table>" in found._repr_html_()
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = found.trials_frame()
    assert list(frame["number"]) == list(range(6))
    assert list(frame["lr"]) == [trial.run.settings["lr"] for trial in found.trials]


def test_what_matters_is_found_to_matter(monkeypatch):
    def score(task):
        return 0.9 - 0.1 * abs(math.log10(task.settings["lr"]) + 3) if task.settings else 0.5

    monkeypatch.setattr(here, "train_once", pretend(score))
    found = tune(cheap.workload, replace(PLAN, trials=30, sampler="random"))
    assert next(iter(found.importances)) == "lr"
    assert found.importances["lr"] > 0.8
    assert sum(found.importances.values()) == pytest.approx(1)
