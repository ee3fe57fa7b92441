"""The experiments' trainings: what is run, what is kept, and what is said of it."""

import json
import math
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import adamantine
from benchmarks import (
    accuracy,
    child,
    markdown,
    measure,
    memory,
    records,
    runs,
    text,
    training_run,
)

Run = training_run.Run
DIGITS = Run("digits", 1, {"lr": 2e-3}, {"epochs": 2})
SMALL_TEXT = {"steps": 3, "width": 64, "layers": 1, "windows": 8, "batch_size": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fake(calls, fail_after=math.inf):
    """Stands for a process that trains: its loss is its seed."""

    def run(command, environment):
        given = json.loads(command[-1])
        calls.append(given)
        if len(calls) > fail_after:
            raise measure.BenchmarkError("killed")
        assert environment["OMP_NUM_THREADS"] == "1"
        last = {"test_accuracy": 0.9 + given["seed"] / 100, "test_loss": 2.0 + given["seed"]}
        result = {"epochs": [last], "seconds": 1.0, "parameters": 10, "optimizer_bytes": 21}
        return child.Child(json.dumps(result), 0, 0)

    return run


def test_interval_of_paired_differences_is_students():
    random = np.random.default_rng(0)
    ours, theirs = random.normal(1, 1, 12), random.normal(0, 1, 12)
    mean, low, high = measure.paired_difference(ours, theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose([low, high], [expected.low, expected.high])
    assert mean == pytest.approx((ours - theirs).mean())
    assert measure.paired_difference([2.0], [1.0]) == (1.0, -math.inf, math.inf)


@pytest.mark.parametrize("workload", ["digits", "text"])
def test_a_run_is_decided_by_what_it_is_given(workload):
    settings = SMALL_TEXT if workload == "text" else {}
    given = Run(workload, 3, {"lr": 1e-3}, {"epochs": 2}, workload_settings=settings)
    losses = [epoch["test_loss"] for epoch in training_run.run(given)["epochs"]]
    again = training_run.run(given)
    assert [epoch["test_loss"] for epoch in again["epochs"]] == losses
    assert len(set(losses)) == 2
    assert 8 <= again["optimizer_bytes"] / again["parameters"] < 8.5
    other = training_run.run(Run(**{**asdict(given), "seed": 4}))
    assert other["epochs"][0]["test_loss"] != losses[0]


@pytest.mark.slow
def test_a_run_in_a_process_gives_what_it_gives_here():
    options = records.Options(jobs=1)
    (there,) = runs.finish("test", [DIGITS], options)
    here = training_run.run(DIGITS)
    for name in ("average_loss", "test_loss", "test_accuracy"):
        assert [epoch[name] for epoch in there["epochs"]] == [e[name] for e in here["epochs"]]
    assert there["peak_bytes"] is None or there["peak_bytes"] > 0


def test_parameters_of_16_bits_compute_in_16_bits():
    given = Run(
        "digits", 0, {"lr": 1e-3}, {"epochs": 1}, optimizer="torch.optim.Adam",
        param_dtype="bfloat16",
    )  # fmt: skip
    result = training_run.run(given)
    assert 4 <= result["optimizer_bytes"] / result["parameters"] < 4.1
    assert 0 < result["epochs"][0]["test_loss"] < math.log(10)


def test_finished_runs_are_not_run_again(tmp_path, monkeypatch, capsys):
    plan = [Run("digits", seed, {}, {"epochs": 1}) for seed in range(5)]
    calls = []
    monkeypatch.setattr(child, "run", fake(calls, fail_after=3))
    options = records.Options(jobs=1, journals=tmp_path)
    with pytest.raises(measure.BenchmarkError, match="killed"):
        runs.finish("test", plan, options)
    assert len((tmp_path / "test.jsonl").read_text().splitlines()) == 3
    done = [call["seed"] for call in calls[:3]]

    calls.clear()
    monkeypatch.setattr(child, "run", fake(calls))
    results = runs.finish("test", plan, options)
    assert [result["epochs"][0]["test_loss"] for result in results] == [2, 3, 4, 5, 6]
    assert sorted(call["seed"] for call in calls) == sorted(set(range(5)) - set(done))
    assert "3 of 5 runs are in" in capsys.readouterr().err

    # Other settings are another run.
    calls.clear()
    runs.finish("test", [Run("digits", 0, {"lr": 0.1}, {"epochs": 1})], options)
    assert len(calls) == 1


def test_a_broken_journal_names_its_line(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = runs.Journal(path)
    journal.add(DIGITS, {"epochs": []})
    with path.open("a") as file:
        file.write('{"run": {"workl')
    with pytest.raises(measure.BenchmarkError, match=r"j\.jsonl, line 2: .* delete the line"):
        runs.Journal(path)


def test_accuracy_trains_each_precision_with_the_same_seeds(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(child, "run", fake(calls))
    monkeypatch.setattr(accuracy, "needs_mnist", lambda folder: folder)
    found = accuracy.run(records.Options(jobs=1, data_dir=tmp_path))
    seeds = {}
    for call in calls:
        assert call["data_dir"] == str(tmp_path)
        seeds.setdefault((call["workload"], call["settings"]["state_dtype"]), set()).add(
            call["seed"]
        )
    counts = {"mnist": 20, "mnist-cnn": 10, "text": 3}
    assert seeds == {
        (workload, precision): set(range(count))
        for workload, count in counts.items()
        for precision in accuracy.PRECISIONS
    }
    table = accuracy.to_markdown(found)
    assert (
        "| mnist | 10 | int8 | 20 | 2.10 | 99.50 % | **+0.000** (+0.000 – +0.000), within |"
        in table
    )
    assert "| text | 10 | bfloat16 | 3 | 2.10 | 3.0000 | **1.0000 ×** (1.0000 – 1.0000) |" in table


def test_accuracy_says_when_the_interval_leaves_the_bar():
    reference = [98.0, 98.1, 97.9]
    assert "not within" not in accuracy.points_above([98.1, 98.2, 98.0], reference)
    for off in (-0.25, 0.25):  # the mean itself
        assert "not within" in accuracy.points_above([x + off for x in reference], reference)
    # A mean of zero, but too few seeds to say so.
    assert "not within" in accuracy.points_above([98.3, 98.1, 97.6], reference)
    assert markdown.ratio_of_means([2.02, 4.0], [2.0, 4.0]) == "**1.0033 ×** (1.0000 – 1.0100)"


def test_text_is_split_by_file_and_windows_are_shifted_by_one():
    training, validation, symbols = text.read()
    assert len(training) > 4 * len(validation) > 0
    assert max(training.max(), validation.max()) == symbols - 1
    workload = text.text(0, **SMALL_TEXT)
    batches = list(workload.train)
    assert len(batches) == len(workload.train) == 3
    for inputs, targets in [*batches, *workload.test]:
        assert inputs.shape[1] == text.CONTEXT
        assert inputs[:, 1:].equal(targets[:, :-1])
    assert sum(len(inputs) for inputs, _ in workload.test) == 8
    # Each epoch has new windows.
    assert not next(iter(workload.train))[0].equal(batches[0][0])


def test_the_usual_transformer_has_5_million_parameters():
    model = text.text().model()
    assert sum(param.numel() for param in model.parameters()) >= 5_000_000


class Hoard(torch.optim.SGD):
    """Keeps tensors in many places, one memory in two of them."""

    def __init__(self, params):
        super().__init__(params)
        (param,) = self.param_groups[0]["params"]
        shared = torch.zeros(100)
        self.state[param] = {"a": shared[:10], "nested": [torch.zeros(5, dtype=torch.uint8)]}
        self.table = {"again": shared, "param": param.detach(), "array": np.zeros((4, 2))[1:]}


Hoard.__module__ = "torch.optim.hoard"


def test_held_counts_each_memory_once_wherever_it_is():
    param = nn.Parameter(torch.zeros(7))
    param.grad = torch.zeros(7)
    assert memory.held(torch.optim.SGD([param])) == memory.Held(0, 0)
    assert memory.held(Hoard([param])) == memory.Held(tensors=400 + 5, arrays=64)


def test_held_by_known_optimizers():
    param = nn.Parameter(torch.zeros(1000))
    param.grad = torch.ones(1000)
    for build, states in ((torch.optim.Adam, 2), (adamantine.Adam, 2), (adamantine.Lion, 1)):
        optimizer = build([param])
        optimizer.step()
        assert 0 <= memory.held(optimizer).tensors - 4000 * states < 100


def test_peak_memory_counts_what_was_freed():
    if memory.peak() is None:
        pytest.skip("this system does not say how much memory a process has")
    before = memory.resident()
    script = (
        "from benchmarks import memory; import torch; before = memory.peak();"
        "torch.ones(64 * 2**18).sum(); print(memory.peak() - before)"
    )
    done = child.run([sys.executable, "-c", script], {"PYTHONPATH": runs.paths()})
    assert int(done.output) >= 50 * 2**20
    assert before > 0
