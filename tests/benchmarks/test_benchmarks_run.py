"""The benchmarks run and count right. Nothing here looks at how long anything takes."""

import gc
import gzip
import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from adamantine import optim
from adamantine.workloads.mnist.files import FILES
from benchmarks import __main__ as command
from benchmarks import (
    bandwidth,
    child,
    gpu,
    lists,
    markdown,
    matrices,
    measure,
    offload,
    other_work,
    program,
    records,
    rivals,
    scale,
    sparse,
    startup,
    step,
    tables,
    tutorial,
)
from sparse_cases import torch_may_warn

ROOT = Path(__file__).parents[2]


def test_rounds_go_through_all_orders():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    samples = measure.interleave(contenders, rounds=7)
    rounds = [tuple(calls[i : i + 3]) for i in range(0, 21, 3)]
    assert rounds == [*permutations("abc"), ("a", "b", "c")]
    assert samples["a"] == [turn for turn, name in enumerate(calls, 1) if name == "a"]


def test_ratio_of_medians_holds_the_true_ratio():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        machine = 1 + 0.3 * random.random(60)  # slow rounds hit both
        ours = machine * random.lognormal(0, 0.1, 60)
        theirs = machine * random.lognormal(1, 0.1, 60)
        _, low, high = measure.ratio_of_medians(theirs, ours)
        covered += low <= np.e <= high
    assert 88 <= covered <= 100


def test_interval_of_samples_without_spread_is_a_point():
    assert measure.ratio_of_medians([6.0] * 9, [2.0] * 9) == (3.0, 3.0, 3.0)
    assert measure.ratio_of_medians([6.0], [2.0]) == (3.0, 3.0, 3.0)


def test_garbage_collection_is_on_again_after_an_error():
    def fail():
        assert not gc.isenabled()
        raise KeyError

    with pytest.raises(KeyError), measure.no_garbage_collection():
        fail()
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ns"),
        (9.994e-7, "999 ns"),
        (9.996e-7, "1 µs"),
        (0.0371234, "37.1 ms"),
        (1.5, "1.5 s"),
        (1234.4, "1,234 s"),
    ],
)
def test_durations(seconds, text):
    assert markdown.duration(seconds) == text


def test_lists_are_compared_with_what_torch_does(monkeypatch):
    cases = [lists.Case("two tensors", ((3,), (2, 2)), rounds=9)]
    monkeypatch.setattr(lists, "CASES", cases)
    found = lists.run(records.Options(quick=True))
    (case,) = found["cases"]
    assert case["parameters"] == 7
    assert {len(samples) for samples in case["nanoseconds"].values()} == {step.QUICK_ROUNDS}
    printed = lists.to_markdown(found)
    assert "| two tensors | `adamantine.Adam(backend='lists')` |" in printed
    assert "| two tensors | `torch.optim.Adam(foreach=True)` |" in printed


def test_muon_is_timed_beside_torchs():
    found = matrices.run(records.Options(quick=True, rounds=2))
    (case,) = found["cases"]
    labels = [contender.label for contender in matrices.CONTENDERS]
    assert list(case["nanoseconds"]) == labels
    assert case["parameters"] == 2 * 12 * 32 * 32
    assert "| two blocks, 32 wide | `torch.optim.Muon()` |" in matrices.to_markdown(found)


@pytest.mark.slow
def test_rivals_are_timed_beside_ours():
    found = rivals.run(records.Options(quick=True, rounds=2))
    for case, (name, contenders) in zip(found["cases"], rivals.RIVALS.items(), strict=True):
        labels = [contender.label for contender in contenders]
        assert (case["case"], case["parameters"]) == (name, 2 * 64 * 65 // 2)
        assert labels[0] == next(iter(case["nanoseconds"])) == f"adamantine.{name}()"
        assert {*case["nanoseconds"], *case["left out"]} == {*labels}
        assert all("is not installed" in reason for reason in case["left out"].values())
        assert {len(samples) for samples in case["nanoseconds"].values()} == {2}
    assert "| LAMB | `adamantine.LAMB()` |" in rivals.to_markdown(found)


@pytest.mark.slow
def test_command_prints_tables_and_keeps_samples(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "step", "--quick", "--rounds", "2", "--out", tmp_path],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found = json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))
    network = found["cases"][0]
    assert network["parameters"] == 101_770
    assert [len(samples) for samples in network["nanoseconds"].values()] == [100, 100, 100]
    assert done.stdout == f"### step\n\n{step.to_markdown(found)}\n\n{records.origin(found)}\n\n"
    assert "| MNIST network, 4 tensors | `adamantine.Adam()` |" in done.stdout
    assert "`torch.optim.SGD(momentum=0.9, fused=True)`" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True], ids=["", "torch alone"])
def test_gpu_host_needs_no_gpu_and_no_other_package(tmp_path, alone):
    """In a process of its own: Triton decides for good whether it interprets."""
    missing = ("numba", "optuna", "scipy", "typer", "pooch", "rich", "sklearn", "matplotlib")
    blocked = f"sys.modules.update(dict.fromkeys({missing if alone else ()!r}))"
    script = (
        f"import runpy, sys; {blocked}; sys.argv = ['benchmarks', 'gpu_host', '--quick', "
        f"'--rounds', '1', '--out', {str(tmp_path)!r}]; "
        "runpy.run_module('benchmarks', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    found = json.loads((tmp_path / "gpu_host.json").read_text(encoding="utf-8"))
    assert [case["parameters"] for case in found["cases"]] == [300_000, 640_000]
    assert "| 10,000 tensors × 64 | `torch.optim.Adam(foreach=True)` |" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_says_that_there_is_none():
    with pytest.raises(measure.MissingError, match="no GPU"):
        gpu.run(records.Options())


@pytest.mark.slow
def test_bandwidth_finds_every_optimizer_and_counts_its_bytes(monkeypatch):
    monkeypatch.setattr(bandwidth, "QUICK_ELEMENTS", 2 * bandwidth.ROW)
    threads = torch.get_num_threads()
    found = bandwidth.run(records.Options(quick=True, rounds=2))
    assert torch.get_num_threads() == threads == found["threads"] == 1
    counted = {case["optimizer"]: case["bytes"] for case in found["cases"]}
    of_matrices = {"Muon", "SOAP"}  # which products of matrices take the time of
    for name in set(optim.__all__) - {"RuleOptimizer", "SparseAdam"}:
        assert (f"{name}()" in counted) == (name not in of_matrices)
    # Param, gradient and states in, param and states out; caution reads three of Adam's again.
    expected = {"SGD()": 12, "Lion()": 20, "Adam()": 28, "Adan()": 44, "Adam(cautious=True)": 40}
    assert {name: counted[name] for name in expected} == expected
    assert all(len(case["nanoseconds"]["step"]) == 2 for case in found["cases"])


@pytest.mark.slow
def test_sparse_measures_every_contender_on_both_distributions(monkeypatch):
    monkeypatch.setattr(sparse, "ROWS_QUICK", 500)
    found = sparse.run(records.Options(quick=True, rounds=2))
    even, zipf = found["cases"]
    for case in (even, zipf):
        assert list(case["nanoseconds"]) == list(sparse.CONTENDERS)
        assert all(len(samples) == 2 for samples in case["nanoseconds"].values())
    assert zipf["distinct"] < even["distinct"] <= 500
    printed = sparse.to_markdown(found)
    assert '| even, 500 rows | `adamantine.Adam(sparse="lazy")` |' in printed
    assert "`torch.optim.SparseAdam()`" in printed


@pytest.mark.slow
def test_scale_measures_every_contender_on_two_processes():
    found = scale.run(records.Options(quick=True, rounds=2))
    for case in found["cases"]:
        assert list(case["nanoseconds"]) == list(scale.CONTENDERS)
        assert all(len(samples) == 2 for samples in case["nanoseconds"].values())
    printed = scale.to_markdown(found)
    assert "| 10: 20 × 10 each, 2,000 elements | `torch.optim.AdamW(fused=True)` |" in printed


def test_offload_measures_every_contender_and_counts_bytes():
    found = offload.run(records.Options(quick=True, rounds=2))
    for case in found["cases"]:
        per_parameter = [total / case["parameters"] for total in case["bytes"].values()]
        assert per_parameter[:2] == pytest.approx([16, 10], rel=0.01)
        assert all(len(samples) == 2 for samples in case["nanoseconds"].values())
    printed = offload.to_markdown(found)
    assert "| 300 tensors × 1,000 | `adamantine.AdamW(offload=True)` |" in printed


@torch_may_warn
def test_tables_measures_ours_beside_torchs(monkeypatch):
    size = tables.Tables(2, 50, 9)
    monkeypatch.setattr(tables, "SIZES", (size,))
    before = torch.get_num_threads()
    try:
        found = tables.run(records.Options(quick=True, rounds=2))
    finally:
        torch.set_num_threads(before)
    assert len(found["cases"]) == len(tables.PAIRS) * len(tables.GRADIENTS)
    for case in found["cases"]:
        assert list(case["nanoseconds"]) == [tables.OURS, tables.TORCHS]
        assert all(len(samples) == 2 for samples in case["nanoseconds"].values())
    printed = tables.to_markdown(found)
    assert "| 2 tables of 50 × 16, 9 indices | `SGD()` |" in printed


def test_bandwidth_is_a_ratio_of_times_for_as_many_bytes():
    case = {
        "optimizer": "Adam()",
        "bytes": 24,
        "yardsticks": {"add": 12, "sweep": 28},
        # Twelve bytes a nanosecond, and seven.
        "nanoseconds": {"step": [3000.0], "add": [1000.0], "sweep": [4000.0]},
    }
    printed = bandwidth.to_markdown({"threads": 2, "elements": 1000, "cases": [case]})
    assert printed.splitlines()[-1] == "| `Adam()` | 24 | 3 µs | 3 | 12 | **1.5 ×** (1.5 – 1.5) |"


def test_saved_samples_are_printed_without_measuring(tmp_path, capsys, monkeypatch):
    seconds = {"import torch": [1.0, 2.0, 3.0], **{part: [0.5] * 3 for part in startup.BEYOND}}
    options = records.Options(rounds=3)
    records.save(records.record("startup", options, 0.5, {"seconds": {"a": seconds}}), tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "startup", "--saved", "--out", str(tmp_path)])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert "| a | 2 s (1 s – 3 s) |" in printed
    assert "| 1.5 s (1.5 s – 1.5 s) |" in printed
    assert "python -m benchmarks startup --rounds 3" in printed


def test_samples_survive_a_file_round_trip(tmp_path):
    found = records.record("step", records.Options(), None, {"cases": [{"ns": {"x()": [1, 2]}}]})
    records.save(found, tmp_path / "new" / "folder")
    assert records.load("step", tmp_path / "new" / "folder") == found


def test_missing_samples_name_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", "step", "--saved", "--out", str(tmp_path)])
    assert command.main() == 1
    assert "run `python -m benchmarks step`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["steps"], "no benchmark 'steps'"),
        (["--rounds", "0"], "--rounds is 0"),
        (["step", "--data-dir", "d"], "--data-dir is for `program`"),
        (["step", "--jobs", "2"], "--jobs is for `accuracy`"),
        (["accuracy", "--jobs", "0"], "--jobs is 0"),
        (["--saved", "--quick"], "--saved measures nothing"),
        (["--pages", "step"], "--pages writes all pages"),
    ],
)
def test_wrong_usage(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert message in capsys.readouterr().err


def test_no_mnist_is_a_reason_to_skip(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", "program", "--quick", "--data-dir", str(tmp_path / "no")])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert "Skipped: " in printed
    assert "no such folder" in printed


def test_program_reads_what_both_programs_print():
    text = "Epoch 1, Average Loss: 0.3400\nTest Accuracy: 94.50%\n"
    more = "Epoch 2, Average Loss: 0.1500\nTest Accuracy: 96.25%\n"
    assert program.read_output(text + more) == {
        "first_average_loss": 0.34,
        "test_accuracy_percent": 96.25,
    }
    with pytest.raises(measure.BenchmarkError, match="two lines"):
        program.read_output("")


def test_startup_pairs_processes_that_share_a_cache(monkeypatch):
    caches = []

    def run(command, environment):
        caches.append(environment.get("NUMBA_CACHE_DIR"))
        seconds = len(caches) if command[-1] == "adamantine" else 0.25
        return child.Child(json.dumps(dict.fromkeys(startup.BEYOND, seconds)), 0, 0)

    monkeypatch.setattr(child, "run", run)
    found = startup.run(records.Options(rounds=2))["seconds"]
    # In the second round torch's process comes first.
    assert caches[0] == caches[1] != caches[4] == caches[5]
    assert caches[2] is caches[3] is None
    assert found[startup.FIRST]["first step"] == [1, 5]
    assert found[startup.SECOND]["first step"] == [2, 6]
    assert found[startup.TORCH]["first step"] == [0.25, 0.25]


def test_program_asks_all_for_the_same(tmp_path, monkeypatch):
    for file in FILES:
        (tmp_path / file.name).touch()
    calls = []

    def run(command, environment):
        calls.append((command[1:], environment))
        return child.Child("Epoch 1, Average Loss: 0.3\nTest Accuracy: 97.00%\n", 2.0, 1.0)

    monkeypatch.setattr(child, "run", run)
    monkeypatch.setattr(program, "find_spec", lambda name: name)
    found = program.run(records.Options(rounds=6, data_dir=tmp_path))
    assert found["epochs"] == 5
    assert {name: len(all_) for name, all_ in found["samples"].items()} == {
        program.OURS: 6,
        program.THEIRS: 6,
        program.ONE_THREAD: 6,
    }
    assert [command[-1] for command, _ in calls] == [str(i // 3) for i in range(18)]
    for arguments, environment in calls:
        assert " --epochs 5 --batch-size 64 " in " ".join(arguments)
        assert str(tmp_path) in arguments
        assert environment in (None, {"OMP_NUM_THREADS": "1"})


def test_program_table():
    sample = {"cpu_seconds": 1.0, "first_average_loss": 0.34, "test_accuracy_percent": 97.5}
    by_name = {program.OURS: [2.0, 4.0], program.THEIRS: [20.0, 20.0]}
    samples = {name: [{**sample, "seconds": s} for s in all_] for name, all_ in by_name.items()}
    printed = program.to_markdown({"epochs": 5, "samples": samples})
    assert "| the tutorial's | 20 s (20 s – 20 s) | 1 s | **6.67 ×** (5 – 10) |" in printed
    assert "97.50 % |" in printed


def test_child_reports_failure_and_environment():
    done = child.run(
        [sys.executable, "-c", "import os; print(os.environ['WORD'])"], {"WORD": "hello"}
    )
    assert done.output == "hello\n"
    assert done.seconds > 0
    with pytest.raises(measure.BenchmarkError, match="ended with 3: why"):
        child.run([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])


@pytest.mark.parametrize("packed", [True, False])
def test_tutorial_trains(tmp_path, capsys, monkeypatch, packed):
    pytest.importorskip("PIL", reason="the tutorial's program needs Pillow")
    random = np.random.default_rng(0)
    for prefix, count in (("train", 128), ("t10k", 50)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = random.integers(0, 10, count, np.uint8)
        for name, content in (
            (f"{prefix}-images-idx3-ubyte", bytes(16) + images.tobytes()),
            (f"{prefix}-labels-idx1-ubyte", bytes(8) + labels.tobytes()),
        ):
            if packed:
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (tmp_path / name).write_bytes(content)
    first_image, first_label = tutorial.MNIST(tmp_path, "t10k")[0]
    assert first_image.shape == (1, 28, 28)
    np.testing.assert_array_equal(first_image[0].numpy() * 255, images[0].astype(np.float32))
    assert first_label == labels[0]

    monkeypatch.setattr(sys, "argv", ["", "--data-dir", str(tmp_path), "--epochs", "2"])
    tutorial.main()
    sample = program.read_output(capsys.readouterr().out)
    assert 2.0 < sample["first_average_loss"] < 2.8  # noise: ln 10 is 2.303
    assert 0 <= sample["test_accuracy_percent"] <= 40


BUSY = "i = 0\nwhile i < 10**7: i += 1"


def test_children_are_not_other_work_but_other_programs_are(monkeypatch):
    if not other_work.STAT.exists():
        pytest.skip("this system does not say how busy it is")
    before = other_work._read()
    child.run([sys.executable, "-c", BUSY])
    after = other_work._read()
    own = after[2] - before[2]
    assert 0 < own <= after[1] - before[1] + 0.05  # ticks of 10 ms

    readings = iter([(0.0, 100.0, 10.0), (10.0, 120.0, 15.0)])
    monkeypatch.setattr(other_work, "_read", lambda: next(readings))
    assert other_work.OtherWork().cores() == 1.5  # (20 - 5) / 10
