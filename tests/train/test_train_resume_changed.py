"""Runs that are resumed with other data, or with another number of epochs."""

import json
from functools import partial

import pytest
import tiny
import torch

import adamantine
from adamantine.errors import CheckpointError
from adamantine.study.compare.plan import Plan
from adamantine.study.runs.conditions import build_context, fingerprint
from adamantine.train import RunFolder, TrainConfig
from adamantine.train.schedules import ENDLESS, NAMES, SCHEDULES
from adamantine.workloads.data.sums import data_sum

ADAM = adamantine.Adam
RESUME = {"if_exists": "resume"}
OTHER = tiny.workload(train=(tiny.examples()[0] + 1e-6, tiny.examples()[1]))


def config(epochs, **changes):
    return TrainConfig(**({"epochs": epochs, "batch_size": 16, "seed": 3} | changes))


# Another number of epochs


@pytest.mark.parametrize("schedule", ["none", *ENDLESS])
@pytest.mark.parametrize(
    "make",
    [partial(ADAM, state_dtype="int8"), partial(adamantine.SGD, lr=0.1, momentum=0.9)],
    ids=["Adam in int8", "SGD"],
)
def test_more_epochs_are_the_run_that_had_so_many_from_the_start(tmp_path, make, schedule):
    whole, expected = tiny.run(make, config(5, schedule=schedule))
    tiny.run(make, config(2, schedule=schedule), out=tmp_path)
    torch.rand(7)
    more = config(5, schedule=schedule)
    record, model = tiny.run(make, more, out=tmp_path, **RESUME)
    assert tiny.same_bits(model, expected)
    assert tiny.results(record) == tiny.results(whole)
    kept = RunFolder(tmp_path).read()
    assert (kept.status, kept.configuration["epochs"], len(kept.epochs)) == ("finished", 5, 5)
    again, _ = tiny.run(make, more, out=tmp_path, **RESUME)
    assert again.epochs == record.epochs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_more_epochs_are_refused_where_the_schedule_depends_on_them(tmp_path, schedule):
    tiny.run(ADAM, config(2, schedule=schedule), out=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        CheckpointError,
        match=f"epochs was 2 and is now 5; the schedule {schedule} depends on the number of epochs",
    ):
        tiny.run(ADAM, config(5, schedule=schedule), out=tmp_path, **RESUME)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("schedule", NAMES)
def test_fewer_epochs_than_are_done_are_one_clear_line(tmp_path, schedule):
    tiny.run(ADAM, config(3, schedule=schedule), out=tmp_path)
    with pytest.raises(CheckpointError, match="has 3 epochs done already, more than the 2 ") as e:
        tiny.run(ADAM, config(2, schedule=schedule), out=tmp_path, **RESUME)
    assert "give --epochs 3 or more, or another folder" in str(e.value)


def test_fewer_epochs_than_planned_end_sooner(tmp_path):
    class Stop(adamantine.train.Callbacks):
        def on_epoch_end(self, record):
            if record.epoch == 2:
                raise KeyboardInterrupt

    expected, _ = tiny.run(ADAM, config(2))
    with pytest.raises(KeyboardInterrupt):
        tiny.run(ADAM, config(9), out=tmp_path, callbacks=Stop())
    record, _ = tiny.run(ADAM, config(2), out=tmp_path, **RESUME)
    assert tiny.results(record) == tiny.results(expected)
    assert RunFolder(tmp_path).read().status == "finished"


# Other data


def test_data_that_changed_are_noticed_and_can_be_allowed(tmp_path):
    tiny.run(ADAM, config(2), out=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for epochs in (2, 3):  # a finished run, and one that goes on
        with pytest.raises(
            CheckpointError, match=r"the data have changed: their sum was \w{8} and .* --allow-chan"
        ):
            tiny.run(ADAM, config(epochs), OTHER, out=tmp_path, **RESUME)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    record, _ = tiny.run(ADAM, config(3), OTHER, out=tmp_path, allow_changed_data=True, **RESUME)
    sums = [f"{data_sum(one.train, one.test):08x}" for one in (tiny.workload(), OTHER)]
    assert record.configuration["data"].split() == sums
    tiny.run(ADAM, config(4), OTHER, out=tmp_path, **RESUME)  # these are its data now
    with pytest.raises(CheckpointError, match="the data have changed"):
        tiny.run(ADAM, config(5), out=tmp_path, **RESUME)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("change", ["inputs", "targets", "order", "count"])
def test_whatever_changed_in_them(tmp_path, part, change):
    inputs, targets = getattr(tiny.workload(), part)
    changed = {
        "inputs": (inputs.nextafter(inputs + 1), targets),
        "targets": (inputs, targets.roll(1)),
        "order": (inputs.flip(0), targets.flip(0)),
        "count": (inputs[:-2], targets[:-2]),
    }[change]
    tiny.run(ADAM, config(1), out=tmp_path)
    with pytest.raises(CheckpointError, match="the data have changed"):
        tiny.run(ADAM, config(2), tiny.workload(**{part: changed}), out=tmp_path, **RESUME)


def test_another_number_of_examples_and_a_schedule_over_the_steps(tmp_path):
    fewer = tiny.workload(train=tiny.examples(40))
    for schedule, allowed in (("none", True), ("step", True), ("cosine", False)):
        out = tmp_path / schedule
        arguments = {"out": out, "allow_changed_data": True, **RESUME}
        plan = config(2, schedule=schedule)
        stop = tiny.workload(metric=Failing())
        with pytest.raises(ValueError, match="stop here"):
            tiny.run(ADAM, plan, stop, out=out)
        if allowed:
            record, _ = tiny.run(ADAM, plan, fewer, **arguments)
            assert record.configuration["train_examples"] == 40
        else:
            with pytest.raises(CheckpointError, match="schedule cosine depends on the number of s"):
                tiny.run(ADAM, plan, fewer, **arguments)


class Failing:
    """A metric that ends a run in its second epoch."""

    name, direction = tiny.ACCURACY.name, "max"

    def __init__(self):
        self.calls = 0

    def per_example(self, outputs, targets):
        self.calls += 1
        if self.calls == 2:
            raise ValueError("stop here")
        return tiny.ACCURACY.per_example(outputs, targets)


def test_a_checkpoint_from_before_there_were_sums_is_resumed(tmp_path):
    tiny.run(ADAM, config(1), out=tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    configuration = json.loads(saved["configuration"])
    del configuration["data"]
    torch.save({**saved, "configuration": json.dumps(configuration)}, tmp_path / "checkpoint.pt")
    record, _ = tiny.run(ADAM, config(2), OTHER, out=tmp_path, **RESUME)
    assert len(record.epochs) == 2
    assert record.configuration["data"] == f"{data_sum(OTHER.train, OTHER.test):08x}"


def test_a_loaders_data_are_not_looked_at(tmp_path):
    loaders = tiny.workload(train=tiny.loader(), test=[tiny.examples(20)])
    record, _ = tiny.run(ADAM, config(1), loaders, out=tmp_path)
    assert record.configuration["data"] is None
    record, _ = tiny.run(ADAM, config(2), loaders, out=tmp_path, **RESUME)
    assert len(record.epochs) == 2


def test_sums_of_all_kinds_of_tensors():
    plain = torch.arange(6.0).view(2, 3)
    kinds = {
        "plain": plain,
        "transposed": plain.T.contiguous().T,  # the same numbers, laid out otherwise
        "bfloat16": plain.bfloat16(),
        "bool": plain > 2,
        "complex": torch.complex(plain, plain),
        "conjugate": torch.complex(plain, plain).conj(),
        "sparse": plain.to_sparse(),
        "other sparse": (plain * 2).to_sparse(),
    }
    sums = {name: data_sum((tensor, torch.zeros(2))) for name, tensor in kinds.items()}
    assert sums.pop("transposed") == sums["plain"]
    assert len(set(sums.values())) == len(sums)


def test_studies_use_the_same_sum(monkeypatch):
    """And the sum that journals hold is what it was."""
    context = build_context(tiny.workload(), Plan(("sgd",)), None)
    before = fingerprint(context)
    monkeypatch.setattr(
        "adamantine.study.runs.conditions.data_sum", lambda *data: data_sum(*data) + 1
    )
    assert fingerprint(context) != before
