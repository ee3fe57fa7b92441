"""Runs that end in an exception: divergence, or a failure that can be left out."""

import math
from dataclasses import replace

import cheap
import pytest
import torch
from torch import nn

from adamantine.errors import AdamantineError
from adamantine.records import StudyRecord, TuneRecord
from adamantine.study import Listener, Plan, TuneListener, TunePlan, compare, tune
from adamantine.study.lr_find.lr_find import find_learning_rate
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.trace import trace
from adamantine.workloads import Metric
from adamantine.workloads.surfaces import surface

ONE = Plan(("sgd:lr=1e30",), budget=1, tuning_seeds=1, seeds=1, epochs=2)
SEARCH = TunePlan(("sgd",), trials=2, epochs=1, seeds=1, pruning=False, space=("lr=1e28:1e30:log",))


def deep():
    return nn.Sequential(*(nn.Linear(cheap.FEATURES, cheap.FEATURES) for _ in range(3)))


def binary_cross_entropy(outputs, targets):
    return nn.functional.binary_cross_entropy(outputs.sigmoid()[:, 0], (targets > 0).float())


class Whitened(nn.Linear):
    def forward(self, inputs):
        gram = self.weight @ self.weight.T + torch.eye(self.out_features)
        return super().forward(inputs) @ torch.linalg.cholesky(gram)


def hits(outputs, targets):
    assert torch.isfinite(outputs).all()
    return (outputs.argmax(1) == targets).float()


KINDS = {
    "loss": {"model": deep, "loss": binary_cross_entropy},
    "linalg": {"model": lambda: Whitened(cheap.FEATURES, cheap.CLASSES)},
    "metric": {"model": deep, "loss": lambda out, y: out.nan_to_num(1, 1, 1).mean(),
               "metric": Metric("hits", hits)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_of_numbers_that_exploded_is_divergence(kind):
    workload = cheap.cheap(**KINDS[kind])
    study = compare(workload, ONE)
    assert [run.failed for run in study.runs] == [None]
    assert math.isnan(study.runs[0].diverged.loss)
    found = tune(workload, SEARCH)
    assert [(trial.outcome, trial.score) for trial in found.trials] == [("diverged", None)] * 2
    assert found.recommended == "defaults"


def strict(outputs, targets):
    assert torch.isfinite(outputs).all()
    return nn.functional.cross_entropy(outputs, targets)


def test_it_is_recorded_as_a_nan_is():
    """The same run, with a loss that lets NaN pass and one that refuses it."""
    losses = (nn.functional.cross_entropy, strict)
    runs = [compare(cheap.cheap(model=deep, loss=loss), ONE).runs[0] for loss in losses]
    assert len({(run.diverged.step, run.steps, len(run.looks)) for run in runs}) == 1


def test_a_search_for_a_rate_goes_beyond_the_one_that_explodes():
    losses = (nn.functional.cross_entropy, strict)
    plain, refusing = (
        find_learning_rate(
            cheap.cheap(model=deep, loss=loss), "sgd", seeds=2, steps=12, low=1e-3, high=1e30
        )
        for loss in losses
    )
    assert refusing.diverges_at == plain.diverges_at is not None
    assert refusing.suggestion == plain.suggestion


class Timid(torch.optim.SGD):
    """Asserts on what it sees."""

    def step(self, closure=None):
        loss = super().step(closure)
        assert all(param.abs().max() < 1e300 for param in self.param_groups[0]["params"])
        return loss


class Lost(torch.optim.SGD):
    """Has a mistake in its second step."""

    def step(self, closure=None):
        super().step(closure)
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken == 2:
            raise KeyError("momentum")


def test_paths_of_optimizers_that_raise():
    (contestant,) = parse_contestants([f"{__name__}:Timid"])
    (path,) = trace(surface("rosenbrock"), [contestant], 60).paths
    assert path.distance < 10  # of all rates, most of which explode
    (contestant,) = parse_contestants([f"{__name__}:Lost:lr=0.1"])
    with pytest.raises(AdamantineError, match=r"Lost.* with lr=0.1 on rosen.*step 2.*KeyError"):
        trace(surface("rosenbrock"), [contestant], 60)


# Failures that are no divergence

PICKY = TunePlan(
    ("cheap:Picky",), trials=6, epochs=2, seeds=1, sampler="random", space=("lr=1e-3:1:log",)
)
SAID = (
    r"the run of cheap:Picky with lr=[^(]+ and seed 100000\d \(epoch 1, after step 2\) failed in"
    r" .*cheap\.py, line \d+: ValueError: I do not like it\. To go on without it: --skip-failed"
)


def test_a_trial_that_fails_is_said_and_can_be_left_out(tmp_path):
    for _ in range(2):
        with pytest.raises(AdamantineError, match=SAID) as caught:
            tune(cheap.workload, PICKY, out=tmp_path)
        assert isinstance(caught.value.__cause__, ValueError)
    found = tune(cheap.workload, PICKY, out=tmp_path, skip_failed=True)
    failed = [trial for trial in found.trials if trial.outcome == "failed"]
    assert 0 < len(failed) < 6
    assert {trial.run.failed for trial in failed} == {"ValueError: I do not like it"}
    assert all(t.run.settings["lr"] > cheap.Picky.limit and t.score is None for t in failed)
    again = tune(cheap.workload, PICKY, out=tmp_path)  # needs no option any more
    read = TuneRecord.from_json(again.to_json())
    assert [t.outcome for t in read.trials] == [t.outcome for t in found.trials]


def test_a_run_of_a_comparison_that_fails_can_be_left_out_and_done_again(tmp_path, monkeypatch):
    plan = Plan(("cheap:Picky:lr=0.1", "sgd"), budget=1, tuning_seeds=1, seeds=2, epochs=1)
    with pytest.raises(AdamantineError, match=r"lr=0.1 and seed 0 .* failed in .*--skip-failed"):
        compare(cheap.workload, plan, out=tmp_path)
    study = compare(cheap.workload, plan, out=tmp_path, skip_failed=True)
    lost = StudyRecord.from_json(study.to_json()).runs[0]
    assert (lost.failed, lost.steps) == ("ValueError: I do not like it", 2)
    assert study.contestants[1].metric is not None
    before = (tmp_path / "runs.jsonl").read_text()
    compare(cheap.workload, plan, out=tmp_path, skip_failed=True)
    assert (tmp_path / "runs.jsonl").read_text() == before
    monkeypatch.setattr(cheap.Picky, "limit", 1.0)
    mended = compare(cheap.workload, plan, out=tmp_path)
    assert [run.failed for run in mended.runs] == [None] * 6


def test_a_final_run_that_fails_is_told():
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        if len(calls) > 12:
            raise RuntimeError("the disk is gone")
        return nn.functional.cross_entropy(outputs, targets)

    plan = Plan(("sgd",), budget=1, tuning_seeds=1, seeds=2, epochs=1, looks=1)
    study = compare(cheap.cheap(loss=loss, train=cheap.examples(213, 1)), plan, skip_failed=True)
    said = next(f.sentence for f in study.verdict if f.about == "caution")
    assert "it failed: RuntimeError: the disk is gone" in said


@pytest.mark.parametrize(
    ("workload", "reason"),
    [("cheap:torn", "EOFError: the file ends"), ("cheap:fatal", "its process died 2 times")],
)
def test_workers_leave_out_what_fails_and_what_kills_them(workload, reason):
    study = compare(workload, replace(ONE, contestants=("sgd",)), jobs=1, skip_failed=True)
    assert [run.failed.startswith(reason) for run in study.runs] == [True]


class Broken(Exception):
    """Of who asked for the study."""


@pytest.mark.parametrize("search", [False, True])
def test_what_a_listener_raises_is_no_failure_of_the_run(search):
    class Angry(TuneListener if search else Listener):
        def check(self):
            raise Broken

    plan = SEARCH if search else replace(ONE, contestants=("sgd",))
    with pytest.raises(Broken):
        (tune if search else compare)(cheap.workload, plan, listener=Angry(), skip_failed=True)


def test_what_a_search_for_a_rate_fails_by():
    def on_step(what, step, steps):
        raise Broken

    with pytest.raises(Broken):
        find_learning_rate(cheap.workload, "sgd", on_step=on_step)
    with pytest.raises(
        AdamantineError, match=r"SGD with lr=1e-07 and seed 0, after 0 steps, failed in .*cheap.py"
    ):
        find_learning_rate(cheap.torn, "sgd")


def test_no_command_cuts_a_batch_of_one():
    """391 examples are six times 65 and one; batch norm refuses that one."""
    normed = lambda: nn.Sequential(nn.BatchNorm1d(cheap.FEATURES), nn.Linear(cheap.FEATURES, 3))
    workload = cheap.cheap(model=normed, train=cheap.examples(434, 1), test=cheap.examples(66, 2))
    study = compare(workload, replace(ONE, contestants=("sgd",), epochs=1, batch_size=65))
    assert [run.steps for run in study.runs] == [6, 6]
    found = tune(workload, replace(SEARCH, space=("batch_size=65|39",), trials=2))
    assert {trial.outcome for trial in found.trials} == {"finished"}
    kept = cheap.cheap(model=normed, train=cheap.examples(66, 1))
    assert find_learning_rate(kept, "adam", seeds=1, steps=12, batch_size=65).steps_taken > 0
