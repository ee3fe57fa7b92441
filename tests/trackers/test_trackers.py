"""Trackers hold each number once, however often and in whatever pieces they are told of it."""

import math
import sys

import cheap
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import accumulators, looks_in_csv, looks_in_tensorboard, rows_of_csv
from untimed import without

from adamantine import workloads
from adamantine.cli import run as command_line
from adamantine.errors import AdamantineError, UsageError
from adamantine.optim import SGD, Adam
from adamantine.study import Plan, TunePlan, compare, tune
from adamantine.study.runs.conditions import build_context
from adamantine.trackers import Outcome, TrackedLook, TrackedRun
from adamantine.trackers.session import Trackers, names
from adamantine.trackers.to_csv import CsvTracker
from adamantine.train import TrainConfig, seed_everything, train
from adamantine.train.seeds import data_order
from adamantine.workloads import batches

STUDY = TrackedRun("0" * 16, "a study", {"contestants": ["adam"]}, is_study=True)
RUN = TrackedRun("1" * 16, "adam lr=0.1", {"lr": 0.1, "betas": [0.9, 0.99]}, STUDY)
LOOKS = [TrackedLook(step, {"loss": 1 / step, "metric": math.nan}) for step in (1, 2, 3)]
OUTCOME = Outcome("finished", 3, {"test_loss": 0.5}, "said in\ntwo lines")
LOCAL = ["csv", "tensorboard"]


class Memory:
    """Keeps what it is told, as the protocol says: each once."""

    def __init__(self):
        self.runs, self.looks, self.outcomes, self.told = {}, {}, {}, 0

    def begin(self, run):
        assert run.parent is None or run.parent.id in self.runs
        self.runs[run.id] = run

    def log(self, run, looks):
        assert run.id in self.runs
        assert [look.step for look in looks] == sorted({look.step for look in looks})
        self.told += len(looks)
        for look in looks:
            known = self.looks.setdefault((run.id, look.step), look)
            assert str(known) == str(look)  # NaN is not itself

    def end(self, run, outcome):
        assert run.id in self.runs
        self.outcomes[run.id] = outcome

    def close(self):
        raise AssertionError("it is the caller's")


def tell(folder, looks, names=LOCAL, outcome=None):
    """As one process would."""
    trackers = Trackers(names, folder)
    trackers.begin(STUDY)
    trackers.begin(RUN)
    trackers.log(RUN, looks)
    if outcome:
        trackers.end(RUN, outcome)
        trackers.end(STUDY, Outcome("finished", 0, {}, "the verdict"))
    trackers.close()


def check_whole(folder):
    for found in (looks_in_csv(folder), looks_in_tensorboard(folder, ("loss", "metric"))):
        assert found.keys() == {RUN.id}
        expected = {(k, look.step): [v] for look in LOOKS for k, v in look.values.items()}
        assert {key: pytest.approx(v, nan_ok=True) for key, v in found[RUN.id].items()} == expected


@pytest.mark.parametrize("first", range(4))
def test_what_is_told_in_pieces_and_twice_is_there_once(first, tmp_path):
    tell(tmp_path, LOOKS[:first])
    tell(tmp_path, LOOKS, outcome=OUTCOME)
    tell(tmp_path, LOOKS, outcome=OUTCOME)
    check_whole(tmp_path)
    results = {row["quantity"]: row["value"] for row in rows_of_csv(tmp_path, "results")[:3]}
    assert results == {"status": "finished", "text": "said in two lines", "test_loss": "0.5"}
    assert len(rows_of_csv(tmp_path, "results")) == 5
    settings = rows_of_csv(tmp_path, "settings")
    assert [row["setting"] for row in settings if row["run"] == RUN.id] == ["lr", "betas"]
    [(run, reader, hparams)] = accumulators(tmp_path)
    assert run == RUN.id
    assert hparams.hparams["lr"].number_value == 0.1
    assert hparams.hparams["betas"].string_value == "[0.9, 0.99]"
    assert [event.value for event in reader.Scalars("test_loss")] == [0.5]


@pytest.mark.parametrize("cut", [1, 7, 20, 40])
def test_files_that_a_kill_cut_short_are_made_whole(cut, tmp_path):
    tell(tmp_path, LOOKS, outcome=OUTCOME)
    events = [path for path in tmp_path.rglob("events.*") if "lr=0.1" in path.parent.name]
    for path in (tmp_path / "csv" / "looks.csv", *events):
        path.write_bytes(path.read_bytes()[:-cut])
    tell(tmp_path, LOOKS, outcome=OUTCOME)
    check_whole(tmp_path)


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


@given(
    values=st.dictionaries(words, st.floats(), max_size=4), settings=st.dictionaries(words, words)
)
def test_csv_gives_back_any_names_and_numbers(tmp_path_factory, values, settings):
    folder = tmp_path_factory.mktemp("csv")
    for _ in range(2):
        tracker = CsvTracker(folder / "csv")
        run = TrackedRun("2" * 16, "any", settings)
        tracker.begin(run)
        tracker.log(run, [TrackedLook(1, values)])
    found = looks_in_csv(folder)[run.id]
    assert {name: repr(value[0]) for (name, _), value in found.items()} == {
        name: repr(value) for name, value in values.items()
    }
    rows = rows_of_csv(folder, "settings")
    assert {row["setting"]: row["value"] for row in rows} == settings


def test_a_comparison_that_goes_on_tells_the_same_runs(tmp_path):
    class Stop(Exception):
        pass

    class Killed(Memory):
        def end(self, run, outcome):
            super().end(run, outcome)
            if len(self.outcomes) == 2:
                raise Stop

    plan = Plan(("adam", "sgd"), seeds=2, budget=2, tuning_seeds=1, epochs=1)
    first, second = Killed(), Memory()
    with pytest.raises(Stop):
        compare(cheap.workload, plan, out=tmp_path, trackers=[first])
    study = compare(cheap.workload, plan, out=tmp_path, trackers=[second])
    assert first.looks.items() <= second.looks.items()
    assert second.told == sum(len(run.looks) for run in study.runs) == len(second.looks)
    [parent] = [run for run in second.runs.values() if run.is_study]
    assert all(run.parent == parent for run in second.runs.values() if run is not parent)
    assert second.outcomes[parent.id].text == " ".join(f.sentence for f in study.verdict)
    more = Memory()
    compare(cheap.workload, Plan(("adam",), seeds=1, budget=1, tuning_seeds=1), trackers=[more])
    assert not more.runs.keys() & second.runs.keys()


def test_a_search_tells_of_trials_rechecks_and_finals(tmp_path):
    memory = Memory()
    for trials in (3, 3):
        plan = TunePlan(("adam",), trials=trials, epochs=1, seeds=2)
        found = tune(cheap.workload, plan, out=tmp_path, trackers=[memory])
    runs = [*(trial.run for trial in found.trials), *found.runs]
    assert all("stats/weight/grad_norm" in look.values for look in memory.looks.values())
    assert not any(run.stats for run in runs)
    assert len(memory.outcomes) == len(runs) + 1
    assert len(memory.looks) == sum(len(run.looks) for run in runs)


def test_runs_of_a_study_tell_what_the_step_before_each_look_did(tmp_path):
    specs = ("adam", "torch:Adam:lr=0.01")
    plan = Plan(specs, seeds=2, budget=2, tuning_seeds=1, epochs=2, looks=2)
    memory, again = Memory(), Memory()
    told = compare(cheap.workload, plan, out=tmp_path, trackers=[memory])
    for (run, _), look in memory.looks.items():
        ours = memory.runs[run].settings["contestant"] == "adam"
        of = {name.split("/")[1] for name in look.values if name.startswith("stats/")}
        assert of == ({"weight", "bias"} if ours else set())
        if ours:
            assert look.values["stats/weight/update_ratio"] == pytest.approx(
                look.values["stats/weight/update_norm"] / look.values["stats/weight/param_norm"]
            )
            assert len({n for n in look.values if "/weight/learning_rate_" in n}) == 5
    # As it goes on, the same from the journal; and without trackers, the same bits.
    compare(cheap.workload, plan, out=tmp_path, trackers=[again])
    assert {key: str(look) for key, look in again.looks.items()} == {
        key: str(look) for key, look in memory.looks.items()
    }
    untold = compare(cheap.workload, plan)
    assert without(told.to_json(), "started") == without(untold.to_json(), "started")


def test_what_is_measured_is_the_last_step_before_a_look():
    """Against an optimizer whose every step is measured, in a loop written out."""
    plan = Plan(
        ("sgd:lr=0.1",), seeds=1, budget=1, tuning_seeds=1, epochs=1, looks=2, batch_size=32
    )
    memory = Memory()
    study = compare(cheap.workload, plan, trackers=[memory])
    context = build_context(cheap.workload, plan, None)
    for run in study.runs:
        seed_everything(run.seed)
        model, order = context.tuning.model(), data_order(run.seed)
        optimizer = SGD(model.named_parameters(), **run.settings, collect_stats=True)
        seed_everything(run.seed)
        norms = []
        for inputs, targets in batches(context.tuning.train, plan.batch_size, order):
            optimizer.zero_grad()
            context.tuning.loss(model(inputs), targets).backward()
            optimizer.step()
            norms.append([each.grad_norm for each in optimizer.stats()])
        [identity] = [
            each.id
            for each in memory.runs.values()
            if (each.settings.get("purpose"), each.settings.get("seed")) == (run.purpose, run.seed)
        ]
        assert len(run.looks) == 2
        for look in run.looks:
            told = memory.looks[identity, look.step].values
            found = [told[f"stats/{name}/grad_norm"] for name in ("weight", "bias")]
            assert found == norms[look.step - 1]


def train_digits(folder, trackers, epochs=3, **options):
    digits = workloads.load("digits")
    seed_everything(0)
    model = digits.model()
    optimizer = Adam(model.parameters(), collect_stats=10)
    return train(
        digits, model, optimizer, TrainConfig(epochs), out=folder, trackers=trackers, **options
    )


def test_a_training_that_goes_on_has_each_epoch_once(tmp_path):
    class Stop(Exception):
        pass

    class Killer(Memory):
        def log(self, run, looks):
            if looks and looks[-1].step == 2:
                raise Stop  # between checkpoint and trackers

    with pytest.raises(Stop):
        train_digits(tmp_path, [Killer(), *LOCAL])
    train_digits(tmp_path, LOCAL, if_exists="resume")
    record = train_digits(tmp_path, LOCAL, epochs=4, if_exists="resume")
    [found] = looks_in_csv(tmp_path).values()
    assert all(len(values) == 1 for values in found.values())
    assert [found["test_accuracy", e.epoch] for e in record.epochs] == [
        [e.test_metric] for e in record.epochs
    ]
    assert ("stats/linear_1.weight/grad_norm", 3) in found or any(
        name.startswith("stats/") and name.endswith("grad_norm") for name, _ in found
    )
    seen = looks_in_tensorboard(tmp_path, ("test_loss",))
    assert [{key: len(v) for key, v in each.items()} for each in seen.values()] == [
        {("test_loss", epoch): 1 for epoch in (1, 2, 3, 4)}
    ]


def test_a_tracker_that_fails_is_named_and_what_is_done_is_kept(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    plan = Plan(("adam",), seeds=1, budget=1, tuning_seeds=1, epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(CsvTracker, "end", fail)
        with pytest.raises(AdamantineError, match="--log csv failed: OSError: no space left"):
            compare(cheap.workload, plan, out=tmp_path, trackers=["csv"])
    study = compare(cheap.workload, plan, out=tmp_path, trackers=["csv"])
    assert looks_in_csv(tmp_path).keys() == {
        row["run"] for row in rows_of_csv(tmp_path, "settings") if row["parent"]
    }
    assert len(looks_in_csv(tmp_path)) == len(study.runs)


def test_one_process_logs_a_folder(tmp_path):
    trackers = Trackers(["csv"], tmp_path)
    with pytest.raises(UsageError, match="another process is logging"):
        Trackers(["csv"], tmp_path)
    trackers.close()
    Trackers(["csv"], tmp_path).close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--log", "tensorbord"],
            "--log is 'tensorbord', expected tensorboard, mlflow, wandb, csv",
        ),
        (["--log", "csv"], "--log csv writes into the folder of the run; give --out DIR"),
        (["--log", "mlflow", "--log", "mlflow"], "--log names a tracker twice"),
    ],
)
def test_what_cannot_be_logged_to_is_said_at_once(options, said, capsys):
    assert command_line(["train", "--workload", "digits", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "compare", "tune"])
@pytest.mark.parametrize("name", [name for name in names() if name != "csv"])
def test_a_missing_package_is_one_line_with_the_command(
    command, name, capsys, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert command_line([command, "--out", str(tmp_path / "out"), "--log", name]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"adamantine: --log {name} needs the package {name}: pip install 'adamantine[{name}]'\n"
    )
    assert not (tmp_path / "out").exists()
