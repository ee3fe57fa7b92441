"""``torchrun … -m adamantine train``; the oracle is a run of one process."""

import json
import re
import signal
import socket
from pathlib import Path

import pytest
import torch
from torchrun import Torchrun, torchrun

from adamantine.cli import run
from adamantine.errors import UsageError
from adamantine.train import RunFolder
from adamantine.train.processes.group import Group
from adamantine.train.processes.launch import Launch, check_kind

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this build of torch has no gloo",
)
ENVIRONMENT = {
    "RANK": "1",
    "WORLD_SIZE": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds ranks in /proc"
)


def options(workload, *more):
    return ("--workload", f"divided:{workload}", "--batch-size", 16, "--threads", 1, *more)


def alone(*arguments):
    threads = torch.get_num_threads()
    assert run(["train", *map(str, arguments)]) == 0
    torch.set_num_threads(threads)


def flat(value, name=""):
    """All that dictionaries and lists hold, with the way to it."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, element in pairs:
            yield from flat(element, f"{name}/{key}")
    else:
        yield name, value


def measurements(epoch):
    """But for learning rates, which are those of a process's own part under FSDP."""
    numbers = flat(epoch.to_json().get("parameters", {}))
    return [(name, value) for name, value in numbers if "learning_rates" not in name]


def checkpoint_of(folder):
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    kept = "model", "optimizer", "scheduler", "rng", "generators"
    return list(flat({name: checkpoint[name] for name in kept}))


def assert_same_run(first, second, *, tolerance=1e-9):
    """Numbers, weights and the optimizer's states; `tolerance` 0 for bits."""
    epochs, others = (RunFolder(path).read().epochs for path in (first, second))
    assert len(epochs) == len(others)
    for one, other in zip(epochs, others, strict=True):
        numbers, expected = (
            torch.tensor([e.average_loss, e.test_loss, e.test_metric, e.lr], dtype=torch.float64)
            for e in (one, other)
        )
        torch.testing.assert_close(numbers, expected, rtol=tolerance, atol=tolerance)
        measured = [dict(measurements(epoch)) for epoch in (one, other)]
        assert measured[0] == pytest.approx(measured[1], rel=1e-6)
    pairs = zip(*map(checkpoint_of, (first, second)), strict=True)
    for (name, value), (other_name, other) in pairs:
        assert name == other_name
        if isinstance(value, torch.Tensor | float):
            torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance, msg=name)
        else:
            assert value == other, name
    names = [{path.name for path in folder.iterdir()} for folder in (first, second)]
    assert names[0] == names[1]


def test_two_processes_agree_with_one_which_goes_on_where_they_were(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    ran = torchrun(2, *options("uneven", "--epochs", 2, "--json", "--out", two))
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(line["epoch"], line["processes"]) for line in lines] == [(1, 2), (2, 2)]
    assert RunFolder(two).read().configuration["processes"] == 2
    alone(*options("uneven", "--epochs", 2, "--out", one))
    assert_same_run(two, one)
    alone("--resume", "--out", two, "--epochs", 4)
    alone("--resume", "--out", one, "--epochs", 4)
    assert_same_run(two, one)
    assert [epoch.processes for epoch in RunFolder(two).read().epochs] == [2, 2, 1, 1]


def test_without_torchrun_the_error_says_what_to_type(capsys):
    assert run(["train", "--parallel", "ddp", "--workload", "digits"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    line = "torchrun --standalone --nproc-per-node 2 -m adamantine train --workload digits"
    assert f"{line} --parallel ddp" in said


def test_other_kinds_are_refused():
    with pytest.raises(UsageError, match="'zero', expected ddp or fsdp"):
        check_kind("zero")


def test_a_process_knows_its_place():
    assert Launch.from_environment({}) is None
    launch = Launch.from_environment({**ENVIRONMENT, "TORCHELASTIC_MAX_RESTARTS": "2"})
    assert (launch.rank, launch.count, launch.restarts, launch.restarts_left) == (1, 3, 0, 2)
    assert launch.command == "torchrun --standalone --nproc-per-node 3"


@pytest.mark.parametrize("wrong", [["--no-such-option"], ["--parallel", "zero"]])
def test_only_the_first_says_that_the_line_is_wrong(wrong, monkeypatch, capsys):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert run(["train", *wrong]) != 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    assert run(["train", *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("examples", [1, 2, 3, 5, 6, 16])
def test_weighted_means_over_slices_are_the_batchs(examples, monkeypatch):
    monkeypatch.setattr(Group, "first", lambda _, function: function())
    batch = torch.rand(examples, 2, dtype=torch.float64), torch.arange(examples)
    state = torch.get_rng_state()
    losses, seen = [], []
    for rank in range(3):
        torch.set_rng_state(state)
        launch = Launch.from_environment({**ENVIRONMENT, "RANK": str(rank)})
        group = Group(launch, "ddp")
        for inputs, targets in group.share([batch], trains=True):
            losses.append(group.weighted(inputs.mean()))
            seen += targets.tolist()
    torch.set_rng_state(state)
    torch.testing.assert_close(sum(losses) / 3, batch[0].mean())
    assert seen == batch[1].tolist() * (3 if examples < 3 else 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "workload", "more"),
    [
        (3, "few", ["--schedule", "cosine", "--max-grad-norm", 0.5]),
        (3, "few", ["--parallel", "fsdp", "--schedule", "cosine"]),
        (2, "uneven", ["--parallel", "fsdp", "--optimizer", "sgd", "--momentum", 0.9]),
        (2, "uneven", ["--optimizer", "adamw", "--stats"]),
        (2, "idle", ["--optimizer", "adamw"]),
        (2, "uneven", ["--parallel", "fsdp", "--stats", "--max-grad-norm", 0.5]),
        (1, "batch_norm", []),
    ],
)
def test_processes_agree_with_one(count, workload, more, tmp_path):
    ran = torchrun(count, *options(workload, "--epochs", 3, "--out", tmp_path / "many"), *more)
    assert not re.search("warn", ran.err, re.IGNORECASE)
    several = more[2:] if "--parallel" in more else more
    alone(*options(workload, "--epochs", 3, "--out", tmp_path / "one"), *several)
    assert_same_run(tmp_path / "many", tmp_path / "one")


@pytest.mark.slow
def test_two_machines_agree_with_one_process_and_one_of_them_writes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = (
        *("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", address),
        *("--rdzv-id", "test", "--local-addr", "127.0.0.1"),
    )
    machines = [
        Torchrun(
            2,
            *options("uneven", "--epochs", 2, "--out", tmp_path / name),
            launcher=meeting,
            standalone=False,
        )
        for name in ("here", "there")
    ]
    assert [machine.end() for machine in machines] == [0, 0]
    (written,) = tmp_path.iterdir()
    alone(*options("uneven", "--epochs", 2, "--out", tmp_path / "one"))
    assert_same_run(written, tmp_path / "one")
    assert RunFolder(written).read().configuration["processes"] == 4


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path):
    many, one = tmp_path / "many", tmp_path / "one"
    torchrun(3, *options("few", "--epochs", 1, "--out", many))
    torchrun(2, "--resume", "--out", many, "--epochs", 2, "--parallel", "fsdp")
    alone("--resume", "--out", many, "--epochs", 3)
    torchrun(3, "--resume", "--out", many, "--epochs", 4, "--parallel", "fsdp")
    torchrun(1, "--resume", "--out", many, "--epochs", 5)
    alone(*options("few", "--epochs", 5, "--out", one))
    assert_same_run(many, one)
    assert [epoch.processes for epoch in RunFolder(many).read().epochs] == [3, 2, 1, 3, 1]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_a_restart_loses_the_epoch_in_flight(rank, tmp_path):
    """With dropout and a loader that shuffles: what is drawn has to be drawn again."""
    whole, killed, restarted = (tmp_path / name for name in ("whole", "killed", "restarted"))
    drawing = "--workload", "divided:drawing", "--threads", 1, "--epochs", 60, "--out"
    torchrun(2, *drawing, whole)

    dying = Torchrun(2, *drawing, killed)
    dying.wait_for_epochs(3)
    dying.signal(rank, signal.SIGKILL)
    assert dying.end() == 1
    assert len(dying.said) == 1, dying.err
    assert "another process of the run has ended" in dying.said[0]
    line = "torchrun --standalone --nproc-per-node 2 -m adamantine train"
    assert f"{line} --resume --out {killed}" in dying.said[0]
    assert 3 <= len(RunFolder(killed).read().epochs) < 60
    torchrun(2, "--resume", "--out", killed)
    assert_same_run(killed, whole, tolerance=0)

    dying = Torchrun(2, *drawing, restarted, launcher=["--max-restarts", "1"])
    dying.wait_for_epochs(3)
    dying.signal(rank, signal.SIGKILL)
    assert dying.end() == 0, dying.err
    assert "torchrun goes on with them" in dying.said[0]
    assert "Started again by torchrun: going on after" in dying.err
    assert_same_run(restarted, whole, tolerance=0)


@pytest.mark.slow
def test_a_restart_does_not_take_an_earlier_run_for_its_own(tmp_path):
    out = tmp_path / "run"
    alone(*options("uneven", "--epochs", 1, "--out", out))
    before = (out / "run.json").read_bytes()
    refused = Torchrun(
        2, *options("uneven", "--epochs", 1, "--out", out), launcher=["--max-restarts", "1"]
    )
    assert refused.end() == 1
    assert len(refused.said) == 2
    assert all("holds a finished run" in line for line in refused.said)
    assert (out / "run.json").read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_ends_all_with_one_line(tmp_path):
    interrupted = Torchrun(2, *options("uneven", "--epochs", 100_000, "--out", tmp_path / "run"))
    interrupted.wait_for_epochs(2)
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.end() != 0
    assert len(interrupted.said) == 1, interrupted.err
    assert "interrupted; " in interrupted.said[0]
    assert RunFolder(tmp_path / "run").read().status == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "more", "said"),
    [
        ("breaking", [], "RuntimeError: this loss fails on rank 1"),
        ("batch_norm", [], "batch norm"),
        ("uneven", ["--parallel", "fsdp", "--state-dtype", "int8"], "int8 does not go with"),
        ("uneven", ["--optimizer", "sgd", "--lr", "1e200"], "the loss became"),
        ("uneven", ["--device", "cuda:0"], "--device"),
        ("uneven", ["--resume"], "--resume needs --out"),
    ],
)
def test_an_error_is_one_line(workload, more, said, tmp_path):
    out = () if "--resume" in more else ("--out", tmp_path / "run")
    failing = Torchrun(2, *options(workload, *more, *out))
    assert failing.end() == 1
    assert len(failing.said) == 1, failing.err
    assert said in failing.said[0]
    ours = failing.err.partition("Traceback")[2]
    assert "src/adamantine" not in ours
