"""A search as a whole, on workloads that train in milliseconds."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import cheap
import optuna
import pytest
import torch
from torch import nn

from adamantine.errors import UsageError
from adamantine.records import Divergence, TuneRecord
from adamantine.study import TuneListener, tune
from adamantine.study.runs import in_process
from adamantine.study.tune.finals import RECHECKED, RECHECKS
from adamantine.study.tune.trials.storage import open_storage
from adamantine.study.tune.tuning import BEST, JOURNAL, NAME, TUNE
from adamantine.workloads import Metric
from study.searches import PLAN, Stop, noise, pretend, without_times


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


@pytest.mark.usefixtures("always_look")
@pytest.mark.parametrize("after", [1, 6])
def test_an_interrupted_search_goes_on_and_is_the_same(tmp_path, after):
    # A model of the results sees them in another order, and may draw another setting then.
    plan = replace(PLAN, sampler="random")
    whole = tune(cheap.workload, plan)
    cut, rest = Stop(after), Stop(math.inf)
    with pytest.raises(KeyboardInterrupt):
        tune(cheap.workload, plan, out=tmp_path, listener=cut)
    resumed = tune(cheap.workload, plan, out=tmp_path, listener=rest)
    assert len(rest.reports[0].done) == len(cut.reports[-1].done)
    assert without_times(resumed) == without_times(whole)
    assert [trial.drawn for trial in resumed.trials] == [trial.drawn for trial in whole.trials]


@pytest.mark.usefixtures("always_look")
def test_a_trial_that_is_interrupted_goes_back_to_the_queue(tmp_path):
    class InTheMiddle(TuneListener):
        def on_search(self, progress, metric):
            if any(running.looks for running in progress.running):
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
    monkeypatch.setattr(in_process, "train_once", None)
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
    # The first rung is where the floor ends, the next ones twice and four times as far.
    ends = {trial.run.looks[-1].epoch for trial in cut.trials if trial.outcome == "pruned"}
    assert ends <= {1.0, 2.0, 4.0, 8.0}
    assert 1.0 in ends
    later = tune(cheap.workload, replace(plan, floor=2))
    assert {t.run.looks[-1].epoch for t in later.trials if t.outcome == "pruned"} <= {2.0, 4.0, 8.0}
    for one, other in zip(whole.trials, cut.trials, strict=True):
        assert one.drawn == other.drawn
        assert [look.validation_loss for look in other.run.looks] == [
            look.validation_loss for look in one.run.looks[: len(other.run.looks)]
        ]


def test_fewer_trials_end_sooner_and_use_what_is_there(tmp_path):
    plan = replace(PLAN, sampler="random", pruning=False)
    told = Stop(3)
    with pytest.raises(KeyboardInterrupt):
        tune(cheap.workload, replace(plan, trials=500), out=tmp_path, listener=told)
    done = len(told.reports[-1].done)
    told = Stop(math.inf)
    found = tune(cheap.workload, replace(plan, trials=done + 2), out=tmp_path, listener=told)
    assert len(found.trials) == told.reports[-1].total == done + 2
    # Of these, fewer still are no reason to forget any.
    assert len(tune(cheap.workload, replace(plan, trials=2), out=tmp_path).trials) == done + 2


def test_a_metric_that_is_no_number_is_said():
    undefined = Metric("share", lambda out, y: torch.full((len(y),), math.nan))
    for pruning in (True, False):
        found = tune(cheap.cheap(metric=undefined), replace(PLAN, pruning=pruning))
        assert {trial.outcome for trial in found.trials} == {"diverged"}
        assert found.recommended == "defaults"
        assert "came to its end with a finite share" in found.verdict[0].sentence


def test_what_is_found_for_an_object_is_not_to_be_trained_by_name(tmp_path):
    data = [cheap.examples(32, seed) for seed in range(3)]
    workload = cheap.cheap(train=data, validation=cheap.examples(30, 7))
    best = tune(workload, replace(PLAN, trials=2, batch_size=64), out=tmp_path).best
    assert (best.command, best.batch_size) == ("", None)
    assert json.loads((tmp_path / BEST).read_text())["batch_size"] is None


def test_settings_that_were_judged_before_are_told_of(tmp_path, monkeypatch):
    """Each longer search is another chance to be better by luck, on the same test data."""
    monkeypatch.setattr(
        in_process, "train_once", pretend(lambda task: task.settings.get("lr", 0.5))
    )
    plan = replace(PLAN, sampler="random", pruning=False)
    first = tune(cheap.workload, replace(plan, trials=1), out=tmp_path)
    assert [finding.about for finding in first.verdict] == ["decision", "final"]
    later = tune(cheap.workload, replace(plan, trials=12), out=tmp_path)
    assert later.tuned.settings != first.tuned.settings
    assert "another setting was judged on the same test data" in later.verdict[2].sentence
    again = tune(cheap.workload, replace(plan, trials=12), out=tmp_path)
    assert again.verdict == later.verdict


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
    assert "apart from the defaults no trial came to its end" in found.verdict[0].sentence
    assert found.best.settings == {}


def test_a_workload_whose_less_is_better():
    error = Metric("error", lambda out, y: (out.argmax(1) != y).float(), "min")
    more = tune(cheap.workload, replace(PLAN, sampler="random"))
    less = tune(cheap.cheap(metric=error), replace(PLAN, sampler="random"))
    assert [t.outcome for t in more.trials] == [t.outcome for t in less.trials]
    assert more.tuned.settings == less.tuned.settings
    assert more.tuned.recheck == pytest.approx(1 - less.tuned.recheck)
    assert more.recommended == less.recommended


@pytest.mark.slow
def test_where_there_is_nothing_to_find_the_defaults_are_recommended(monkeypatch):
    monkeypatch.setattr(in_process, "train_once", pretend(noise))
    plan = replace(PLAN, trials=12, seeds=5, space=("lr=1e-5:1e-1:log",))
    found = [tune(cheap.workload, replace(plan, seed=10_000 * n)) for n in range(100)]
    assert sum(each.recommended == "defaults" for each in found) >= 95
    # The search believes in its best trial, and the rechecks do not.
    excess = [each.tuned.score - 0.9 for each in found]
    honest = [each.tuned.recheck - 0.9 for each in found]
    assert sum(excess) / 100 > 0.008 > sum(honest) / 100


@pytest.mark.slow
def test_where_there_is_something_to_find_it_is_recommended(monkeypatch):
    def score(task):
        rate = task.settings.get("lr", 1e-3)
        return noise(task) - 0.02 * abs(math.log10(rate) + 1.5)

    monkeypatch.setattr(in_process, "train_once", pretend(score))
    found = [
        tune(cheap.workload, replace(PLAN, trials=20, seeds=5, seed=10_000 * n)) for n in range(10)
    ]
    assert sum(each.recommended == "tuned" for each in found) >= 8


def test_diverged_finals_are_told(monkeypatch):
    """A setting that is good on all seeds but a final one is not recommended."""

    def fragile(context, task, on_step=None, on_look=None):
        run = pretend(lambda task: 0.9 + 0.05 * ("lr" in task.settings))(context, task)
        if task.purpose == "final" and task.seed == 1001 and task.settings:
            return replace(run, diverged=Divergence(3, math.nan), test_metric=None)
        return run

    monkeypatch.setattr(in_process, "train_once", fragile)
    found = tune(cheap.workload, PLAN)
    assert found.recommended == "defaults"
    decision, final = (finding.sentence for finding in found.verdict)
    assert "1 of 2 final runs diverged against 90.0" in final
    assert decision.startswith("Use Adam(), the defaults: 90.0")
    assert decision.endswith("; of the tuned setting 1 of 2 final runs diverged.")


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
        ({"space": ("batch_size=32",)}, "two or more that differ; one alone is given as --batch-"),
        ({"space": ("batch_size=32|32",)}, "expected two or more that differ"),
        ({"space": ("schedule=none|cosine", "schedule=step|none")}, "schedule is given twice"),
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

    monkeypatch.setattr(in_process, "train_once", pretend(score))
    found = tune(cheap.workload, replace(PLAN, trials=30, sampler="random"))
    assert next(iter(found.importances)) == "lr"
    assert found.importances["lr"] > 0.8
    assert sum(found.importances.values()) == pytest.approx(1)
    few = tune(cheap.workload, replace(PLAN, trials=12, sampler="random"))
    assert few.importances == {}  # five settings, and twelve trials: it would be noise
