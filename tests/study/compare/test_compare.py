"""The comparison as a whole, on workloads that train in milliseconds."""

import json
import math
import sys
from dataclasses import replace

import cheap
import pytest
import torch
from torch import nn

from adamantine.errors import AdamantineError, CheckpointError, UsageError, WorkloadError
from adamantine.records import StudyRecord
from adamantine.study import Listener, Plan, compare
from adamantine.study.runs.tasks import key_of
from adamantine.workloads import ACCURACY, Metric
from study.untimed import without

PLAN = Plan(("adam", "sgd"), seeds=3, budget=4, tuning_seeds=2, epochs=2, batch_size=32)


def without_times(study):
    """A study as JSON, but for what may differ between two times it is run."""
    kept = without(study.to_json(), "started", "machine", "command")
    return json.dumps(kept, sort_keys=True)


class Stop(Listener):
    """Interrupts a comparison after some runs."""

    def __init__(self, after):
        self.left = after
        self.plan = None
        self.known = 0

    def on_plan(self, total, reused, others, metric):
        self.plan = (total, len(reused), list(others))
        self.known = len(reused)

    def on_reused(self, runs):
        self.known += len(runs)

    def on_run(self, run):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_every_contestant_gets_the_same_budget_and_fresh_seeds():
    study = compare(cheap.workload, PLAN)
    for contestant in study.contestants:
        runs = [run for run in study.runs if run.contestant == contestant.name]
        tuning = [run for run in runs if run.purpose == "tune"]
        finals = [run for run in runs if run.purpose == "final"]
        assert len(contestant.trials) == PLAN.budget
        assert len(tuning) == PLAN.budget * PLAN.tuning_seeds
        assert [run.seed for run in finals] == PLAN.seeds_of_finals
        assert not {run.seed for run in tuning} & {run.seed for run in finals}
        assert all(run.test_metric is None for run in tuning)
        assert all(dict(run.settings) == dict(contestant.settings) for run in finals)
        best = max(trial.score for trial in contestant.trials)
        assert next(t for t in contestant.trials if t.settings == contestant.settings).score == best


@pytest.mark.parametrize(("budget", "trials"), [(8, 4), (3, 3)])
def test_a_space_of_few_settings_is_tried_once(budget, trials):
    space = ("lr=0.1|0.01", "weight_decay=0|0.1")
    plan = Plan(("momentum",), seeds=2, budget=budget, tuning_seeds=2, epochs=1, space=space)
    study = compare(cheap.workload, plan)
    (contestant,) = study.contestants
    assert len(contestant.trials) == trials
    assert len({(each.lr, each.settings["weight_decay"]) for each in contestant.trials}) == trials
    assert all(len(each.scores) == 2 for each in contestant.trials)
    keys = [key_of(run) for run in study.runs]
    assert len(keys) == len(set(keys)) == trials * 2 + 2


def test_looks_are_where_they_should_be():
    study = compare(cheap.workload, replace(PLAN, budget=1, looks=4))
    steps = math.ceil(180 / 32)  # a tenth of the 200 examples is kept to choose by
    for run in study.runs:
        assert run.steps == 2 * steps
        assert [look.step for look in run.looks] == [2, 3, 5, 6, 8, 9, 11, 12]
        epochs = [look.step / steps for look in run.looks]
        assert [look.epoch for look in run.looks] == pytest.approx(epochs, rel=1e-12)
        assert run.seconds == run.looks[-1].seconds
        assert run.parameters == cheap.FEATURES * cheap.CLASSES + cheap.CLASSES


def test_a_look_changes_nothing():
    """Dropout and batch norm would notice; and the loss is that of the batches between looks."""

    def model():
        return nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))

    one, many = (
        compare(cheap.cheap(model=model), replace(PLAN, budget=1, looks=looks)) for looks in (1, 6)
    )
    for few, more in zip(one.runs, many.runs, strict=True):
        assert few.looks[-1].validation_loss == more.looks[-1].validation_loss
        assert few.test_loss == more.test_loss
        mean = sum(look.train_loss for look in more.looks[:6]) / 6  # one look a batch
        assert few.looks[0].train_loss == pytest.approx(mean, rel=1e-6)


class Watched:
    """Test data that count how often they are read."""

    def __init__(self, batch):
        self.batch, self.reads = batch, 0

    def __iter__(self):
        self.reads += 1
        return iter([self.batch])


def test_settings_are_chosen_without_the_test_set():
    """Its labels are wrong, so what is best there is worst in truth."""
    inputs, targets = cheap.examples(100, 2)
    hostile = Watched((inputs, (targets + 1) % cheap.CLASSES))
    friendly = Watched((inputs, targets))
    chosen = [
        [each.settings for each in compare(cheap.cheap(test=data), PLAN).contestants]
        for data in (friendly, hostile)
    ]
    assert chosen[0] == chosen[1]
    assert hostile.reads == len(PLAN.contestants) * PLAN.seeds  # once for each final run


@pytest.mark.parametrize("after", [1, 7, 16, 20])
def test_an_interrupted_comparison_goes_on_and_is_the_same(tmp_path, after):
    whole = compare(cheap.workload, PLAN, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        compare(cheap.workload, PLAN, out=tmp_path / "cut", listener=Stop(after))
    rest = Stop(-1)
    resumed = compare(cheap.workload, PLAN, out=tmp_path / "cut", listener=rest)
    assert rest.plan == (22, after, [])
    assert rest.left == -1 - (22 - after)
    assert without_times(resumed) == without_times(whole)
    files = [tmp_path / name / "study.json" for name in ("whole", "cut")]
    read = [StudyRecord.from_json(json.loads(file.read_text())) for file in files]
    assert without_times(read[0]) == without_times(read[1]) == without_times(whole)


def test_more_seeds_and_contestants_reuse_what_is_there(tmp_path):
    compare(cheap.workload, PLAN, out=tmp_path)
    more = Stop(-1)
    plan = replace(PLAN, contestants=("adam", "sgd", "adamax"), seeds=4)
    compare(cheap.workload, plan, out=tmp_path, listener=more)
    assert more.plan == (36, 22, [])
    other = Stop(-1)
    compare(cheap.workload, replace(PLAN, epochs=1), out=tmp_path, listener=other)
    assert other.plan == (22, 0, ["epochs was 2 and is now 1"])


def test_processes_give_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    here, there = compare(cheap.workload, PLAN), compare("cheap:workload", PLAN, jobs=2)
    assert [vars(run) for run in untimed(here.runs)] == [vars(run) for run in untimed(there.runs)]


def untimed(runs):
    return [
        replace(run, seconds=0, looks=tuple(replace(look, seconds=0) for look in run.looks))
        for run in runs
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_a_killed_worker_costs_its_run_and_no_more(kills, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMANTINE_TEST_MARKS", str(tmp_path))
    monkeypatch.setenv("ADAMANTINE_TEST_KILLS", str(kills))
    plan = replace(PLAN, contestants=("sgd",))
    study = compare("cheap:deadly", plan, jobs=kills)
    assert len(list(tmp_path.iterdir())) == kills
    assert [vars(run) for run in untimed(study.runs)] == [
        vars(run) for run in untimed(compare(cheap.workload, plan).runs)
    ]


@pytest.mark.parametrize(
    ("workload", "error", "saying"),
    [
        (
            "cheap:fatal",
            AdamantineError,
            r"sgd .*seed 0 died 2 times \(killed by SIGKILL; is there",
        ),
        (
            "cheap:broken",
            AdamantineError,
            r"preparing the runs failed in .*cheap.py, line \d+: ValueError: no such layer",
        ),
        (
            "cheap:wrong",
            AdamantineError,
            r"run of sgd with lr=\S+ and seed 0 .* failed in .*cheap.py, line \d+: RuntimeError",
        ),
        pytest.param(
            "cheap:torn",
            AdamantineError,
            r"sgd with .* failed in .*: EOFError: the file ends",
            marks=pytest.mark.slow,
        ),
        ("cheap:nothing", WorkloadError, "has no 'nothing'"),
    ],
)
def test_a_run_that_cannot_be_done_is_said(workload, error, saying):
    with pytest.raises(error, match=saying):
        compare(workload, replace(PLAN, contestants=("sgd",)), jobs=1)


def test_a_diverged_run_is_a_result():
    plan = replace(PLAN, contestants=("sgd:lr=1e38", "adam"), budget=1)
    study = compare(cheap.workload, plan)
    lost, found = study.contestants
    runs = [run for run in study.runs if run.contestant == lost.name]
    assert all(run.diverged and not math.isfinite(run.diverged.loss) for run in runs)
    assert all(run.test_metric is None for run in runs)
    assert found.metric is not None
    assert any("diverged" in finding.sentence for finding in study.verdict)


def test_a_loss_that_refuses_what_is_not_finite_has_diverged():
    study = compare(cheap.strict, replace(PLAN, contestants=("sgd:lr=1e38", "adam"), budget=1))
    lost, found = study.contestants
    assert [trial.score for trial in lost.trials] == [None]
    assert found.diverged == 0
    runs = [run for run in study.runs if run.contestant == lost.name]
    assert runs
    assert all(run.diverged.step == run.steps + 1 > 1 for run in runs)


@pytest.mark.slow
def test_loaders_with_processes_of_their_own():
    """A worker's own workers."""
    plan = Plan(("sgd",), budget=1, tuning_seeds=1, seeds=1, epochs=1)
    study = compare("cheap:loaded", plan, jobs=1)
    assert [run.steps for run in study.runs] == [4, 4]
    assert study.plan["batch_size"] is None


def test_loaders_with_orders_of_their_own():
    """A generator that earlier runs have moved."""
    plan = Plan(("sgd",), budget=1, tuning_seeds=1, seeds=1, epochs=1)
    once, twice = compare(cheap.own_order, plan), compare(cheap.own_order, plan)
    assert untimed(once.runs) == untimed(twice.runs)
    with pytest.raises(UsageError, match="brings batches of its own; leave out the batch size"):
        compare(cheap.own_order, replace(plan, batch_size=7))


def test_a_changed_model_loss_or_data_is_noticed(tmp_path):
    plan = replace(PLAN, contestants=("sgd",), budget=1)
    changed = [
        cheap.cheap(),
        cheap.cheap(model=lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))),
        cheap.cheap(loss=lambda out, y: 5 * nn.functional.cross_entropy(out, y)),
        cheap.cheap(train=cheap.examples(200, 8)),
    ]
    for number, workload in enumerate(changed):
        told = Stop(-1)
        compare(workload, plan, out=tmp_path, listener=told)
        assert told.plan[:2] == (5, 0)
        assert len(told.plan[2]) == number


OWN = """
from torch.optim import SGD

class Mine(SGD):
    pass
"""


def test_an_edited_optimizer_is_trained_anew_and_the_others_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    plan = replace(PLAN, contestants=("sgd", "edited_between:Mine:lr=0.1"), budget=1)
    found = []
    for text in (OWN, OWN, OWN.replace("pass", "weight_decay = 1")):
        (tmp_path / "edited_between.py").write_text(text)
        monkeypatch.delitem(sys.modules, "edited_between", raising=False)
        told = Stop(-1)
        compare(cheap.workload, plan, out=tmp_path / "study", listener=told)
        found.append((told.known, told.plan[2]))
    changed = "the source of edited_between:Mine(lr=0.1) has changed"
    assert found == [(0, []), (10, []), (5, [changed])]


def test_more_tuning_seeds_reuse_what_is_there_stage_by_stage(tmp_path):
    compare(cheap.workload, PLAN, out=tmp_path)
    told = Stop(-1)
    study = compare(cheap.workload, replace(PLAN, tuning_seeds=3), out=tmp_path, listener=told)
    begun = -1 - told.left
    assert told.known + begun == len(study.runs) == 30


def test_the_callers_generators_are_left_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    compare(cheap.workload, replace(PLAN, budget=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_workload_whose_less_is_better():
    error = Metric("error", lambda out, y: (out.argmax(1) != y).float(), "min")
    more = compare(cheap.cheap(metric=ACCURACY), PLAN)
    less = compare(cheap.cheap(metric=error), PLAN)
    for one, other in zip(more.contestants, less.contestants, strict=True):
        assert one.settings == other.settings
        assert one.metric.value == pytest.approx(1 - other.metric.value)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"contestants": ()}, "there are no contestants"),
        ({"seeds": 0}, "seeds is 0, expected at least 1"),
        ({"tuning_seeds": 1001}, "tuning_seeds is 1001, expected at most 1000"),
        ({"tolerance": 1.0}, "tolerance is 1.0, expected a share"),
        ({"tune_for": "test"}, "tune_for is 'test', expected one of metric, loss, train-loss"),
        ({"schedule": "cosin"}, "schedule is 'cosin', expected one of"),
        ({"seed": -1}, "seed is -1"),
        ({"target": float("nan")}, "target is nan, expected a finite number"),
        ({"contestants": ("adamm",)}, "there is no optimizer 'adamm'; did you mean 'adam'"),
        ({"space": ("lr=1:0",)}, "'lr=1:0'|lr.*1.*0"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_runs(changes, saying, tmp_path):
    with pytest.raises(UsageError, match=saying):
        compare(cheap.workload, replace(PLAN, **changes), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_jobs_need_a_name():
    with pytest.raises(UsageError, match="jobs needs a workload that other processes can load"):
        compare(cheap.workload, PLAN, jobs=2)
    with pytest.raises(UsageError, match="jobs is 0, expected at least 1"):
        compare("cheap:workload", PLAN, jobs=0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write .*--out"):
        compare(cheap.workload, PLAN, out=tmp_path / "file")
