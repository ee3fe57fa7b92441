"""``adamantine tune``, and ``train --config`` with what it found."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from adamantine.cli.tune.output import progress_rows, sparkline
from adamantine.records import Look, SearchTrial, TrialRun
from adamantine.study.tune.search import RunningTrial, SearchProgress
from adamantine.study.tune.suggest import Setting
from adamantine.workloads import ACCURACY, Metric

SMALL = ("tune", "--trials", 3, "--epochs", 1, "--seeds", 2, "--jobs", 1)


@pytest.fixture
def found(adamantine, tmp_path):
    """The folder of a search, and what the command gave."""
    result = adamantine(*SMALL, "adam:amsgrad=true", "--out", tmp_path / "found")
    assert result.code == 0, result.err
    return tmp_path / "found", result


def test_a_search_and_a_training_with_what_it_found(found, adamantine, tmp_path):
    folder, result = found
    assert "tuned adam(amsgrad=true) lr" in result.out
    assert "rechecks" in result.out
    best = json.loads((folder / "best.json").read_text())
    assert best["python"] in result.out
    assert best["settings"]["amsgrad"] is True
    assert best["command"] in result.out
    record = json.loads((folder / "tune.json").read_text())
    assert record["command"].startswith("adamantine tune adam:amsgrad=true --trials 3")
    again = adamantine(*SMALL, "adam:amsgrad=true", "--out", folder)
    assert "3 of 3 trials are done already and are kept" in again.err
    assert again.out == result.out
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert adamantine("report", folder).out == result.out
    assert (folder / "report.html").read_text() == page

    out = tmp_path / "run"
    config = folder / "best.json"
    assert adamantine("train", "--config", config, "--out", out).code == 0
    run = json.loads((out / "run.json").read_text())
    assert run["configuration"]["optimizer"]["amsgrad"] is True
    assert run["configuration"]["epochs"] == 1
    for name, value in best["settings"].items():
        assert run["configuration"]["optimizer"][name] == value
    result = adamantine("train", "--resume", "--out", out)
    assert result.code == 0, result.err
    assert "is finished: 1 epochs" in result.err


def test_flags_override_a_config(adamantine, tmp_path):
    config = tmp_path / "best.json"
    config.write_text(
        json.dumps(
            {
                "workload": "digits",
                "optimizer": "adam",
                "settings": {"lr": 0.5, "betas": [0.8, 0.9], "eps": 1e-3},
                "epochs": 3,
                "schedule": "cosine",
            }
        )
    )
    given = ("--lr", 0.25, "--epochs", 1, "--out", tmp_path / "run")
    assert adamantine("train", "--config", config, *given).code == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())["configuration"]
    assert (run["workload"], run["epochs"], run["schedule"]) == ("digits", 1, "cosine")
    optimizer = run["optimizer"]
    assert (optimizer["betas"], optimizer["eps"]) == ([0.8, 0.9], 1e-3)
    options = json.loads((tmp_path / "run" / "run.json").read_text())["options"]
    assert options["lr"] == 0.25


@pytest.mark.parametrize(
    ("text", "more", "saying"),
    [
        (None, (), "cannot read --config"),
        ("{", (), "is not valid JSON"),
        ("[]", (), "expected a JSON object"),
        ('{"lr": 1}', (), "has the key 'lr', expected some of workload, optimizer, settings"),
        ('{"settings": {}}', (), "does not say which optimizer"),
        ('{"optimizer": "torch:Adam"}', (), "is for torch:Adam, which --optimizer does not have"),
        ('{"optimizer": "adam", "epochs": "3"}', (), "epochs is '3', expected a whole number"),
        ('{"optimizer": "adam", "settings": 3}', (), "settings is 3, expected an object"),
        ('{"optimizer": "adam", "settings": {"momentum": 1}}', (), "has no setting 'momentum'"),
        ('{"optimizer": "adam"}', ("--optimizer", "sgd"), "of adam, and --optimizer is sgd"),
        ('{"optimizer": "adam", "settings": {"lr": -1}}', (), "learning rate: -1"),
        ("{}", ("--resume", "--out", "x"), "leave --config out"),
    ],
)
def test_a_wrong_config_is_one_line(adamantine, tmp_path, text, more, saying):
    config = tmp_path / "best.json"
    if text is not None:
        config.write_text(text)
    assert adamantine("train", "--config", config, *more).failed(2, saying=saying)


@pytest.mark.parametrize(
    ("more", "code", "saying"),
    [
        (("--space", "lr=1:0"), 2, "the low end 1 is not below"),
        (("--space", "momentum=0.5:0.9"), 2, "none of adam has a setting 'momentum'"),
        (("--storage", "nonsense"), 2, "storage is 'nonsense', expected a URL"),
        (("--storage", "sqlite:////nowhere/x.db"), 1, "cannot use storage"),
        (("--sampler", "best"), 2, "sampler is 'best', expected one of tpe"),
        (("--workload", "nothing"), 2, "there is no workload 'nothing'"),
        (("--jobs", "0"), 2, "jobs is 0"),
    ],
)
def test_a_wrong_request_is_one_line(adamantine, tmp_path, more, code, saying):
    result = adamantine("tune", *more, "--out", tmp_path / "new")
    assert result.failed(code, saying=saying), result.err


def test_json_is_the_whole_record(adamantine, tmp_path):
    flags = ("--no-pruning", "--skip-failed")
    result = adamantine(*SMALL, *flags, "--json", "--out", tmp_path)
    record = json.loads(result.out)
    assert all(f"{flag} --" in record["command"] for flag in flags)  # and no value behind it
    assert record == json.loads((tmp_path / "tune.json").read_text())
    assert len(record["trials"]) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_password_is_not_kept(adamantine, tmp_path):
    """Whatever it consists of: a shell's quotes would tear this one apart."""
    url = f"sqlite:///{tmp_path}/trials.db?timeout=5&password=ab'Zq9kX"
    small = ("tune", "--trials", 1, "--epochs", 1, "--seeds", 1, "--jobs", 1)
    result = adamantine(*small, "--json", "--storage", url, "--out", tmp_path / "out")
    record = json.loads(result.out)
    assert record["plan"]["storage"].endswith("trials.db?password=***&timeout=5")
    assert "--storage" in record["command"]
    for path in (tmp_path / "out").iterdir():
        assert b"Zq9kX" not in path.read_bytes(), path
    assert "Zq9kX" not in result.out + result.err


def trial(number, score, curve, **changes):
    looks = tuple(Look(n, n, 0.0, 1.0, 1.0, value) for n, value in enumerate(curve, 1))
    fields = {"pruned": score is None} | changes
    run = TrialRun("adam", "tune", {"lr": 0.1 * number}, 0, looks, 1, 0.0, 1, 1, **fields)
    return SearchTrial(number, {}, score, run)


def test_the_view_has_the_best_the_outcomes_and_the_curves():
    setting = Setting("adam", {"lr": 0.5}, {})
    progress = SearchProgress(
        total=9,
        done=(trial(1, 0.8, [0.8]), trial(2, 0.9, [0.9]), trial(3, None, [0.5])),
        running=(RunningTrial(4, setting, (0.0, 0.5, 1.0)), RunningTrial(5, setting, ())),
    )
    rows = progress_rows(progress, ACCURACY)
    assert rows[0] == ("", "2 finished, 1 pruned", "")
    assert rows[1] == ("best", "accuracy 90.00%", "adam lr 0.2")
    assert rows[2] == ("#4", "▁▅█ 100.00%", "adam lr 0.5")
    assert rows[3] == ("#5", "", "adam lr 0.5")
    less = progress_rows(progress, Metric("error", ACCURACY.per_example, "min"))
    assert less[1][2] == "adam lr 0.1"


@pytest.mark.parametrize(
    ("values", "scale", "drawn"),
    [
        ([], [], ""),
        ([1.0], [1.0], "█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], [0, 7], "▁▂▃▄▅▆▇█"),
        ([1.0, float("nan"), float("inf")], [0.0, 2.0, float("nan")], "▅··"),
        ([float("nan")], [float("nan")], "·"),
    ],
)
def test_sparklines(values, scale, drawn):
    assert sparkline(values, scale) == drawn


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_leaves_one_line_and_what_is_done(tmp_path):
    """In a process on a pseudo-terminal: the view is drawn, and gone at the end."""
    command = [sys.executable, "-c", "from adamantine.cli import main; main()"]
    options = ["tune", "--trials", "2000", "--epochs", "1", "--jobs", "1", "--out", tmp_path]
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*command, *options], stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    said = []

    def read():
        while True:
            try:
                said.append(os.read(ours, 4096))
            except OSError:
                return
            if not said[-1]:
                return

    reader = threading.Thread(target=read)
    reader.start()
    while b"best" not in b"".join(said):
        time.sleep(0.1)
        assert process.poll() is None, b"".join(said)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    reader.join()
    os.close(ours)
    assert process.returncode == 130
    assert out == b""
    text = b"".join(said).decode()
    assert "Trials" in text
    last = text.strip().splitlines()[-1]
    assert "of 2000 trials are done and kept" in last
    assert not list(tmp_path.glob(".searcher*"))
