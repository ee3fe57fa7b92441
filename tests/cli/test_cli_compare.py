"""``adamantine compare`` and ``report``, as processes and in this one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from adamantine.cli import run
from adamantine.cli.compare.output import StudyOutput, TerminalStudyOutput
from adamantine.records import Look, TrialRun
from adamantine.workloads import ACCURACY
from study.untimed import without

FOLDER = Path(__file__).parents[1] / "study"
SMALL = ["--seeds", "2", "--budget", "3", "--tuning-seeds", "2", "--epochs", "2"]
COMPARE = [sys.executable, "-m", "adamantine", "compare", "adam", "sgd", *SMALL]
FILES = {"report.html", "study.json", "final.png", "curves.png", "learning_rates.png"}


def command(out, *options):
    return [
        "compare", "adam", "sgd", "--workload", "cheap:workload", *SMALL, "--jobs", "1",
        "--out", str(out), *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a comparison that has ended; to be copied, not changed."""
    out = tmp_path_factory.mktemp("finished") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FOLDER)
        printed = StringIO()
        with redirect_stdout(printed):
            assert run(command(out)) == 0
    return out, printed.getvalue()


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """A copy of that folder, and what was printed."""
    monkeypatch.chdir(FOLDER)
    shutil.copytree(finished[0], tmp_path / "study")
    return tmp_path / "study", finished[1]


def test_it_prints_a_table_and_a_verdict_and_writes_the_report(copied, adamantine):
    out, printed = copied
    assert {path.name for path in out.iterdir()} >= FILES
    study = json.loads((out / "study.json").read_text())
    for contestant in study["contestants"]:
        assert contestant["name"] in printed
    for finding in study["verdict"]:
        assert " ".join(finding["sentence"].split()) in " ".join(printed.split())
    assert study["command"].startswith("adamantine compare adam sgd --workload cheap:workload")

    page = (out / "report.html").read_text()
    for path in out.iterdir():
        if path.suffix in (".html", ".png"):
            path.unlink()
    again = adamantine("report", out)
    assert again.code == 0, again.err
    assert again.out == printed
    assert (out / "report.html").read_text() == page
    assert {path.name for path in out.iterdir()} >= FILES


def test_a_report_takes_the_pictures_away_that_it_has_no_more(copied, adamantine):
    """Of ours only: a file of the same name that somebody else has made stays."""
    out, _ = copied
    study = json.loads((out / "study.json").read_text())
    study["runs"] = []
    (out / "study.json").write_text(json.dumps(study))
    assert (out / "curves.png").exists()
    (out / "time_to_target.png").write_bytes(b"\x89PNG and what else there is in it")
    (out / "mine.png").write_bytes((out / "final.png").read_bytes())
    result = adamantine("report", out)
    assert result.code == 0, result.err
    assert "curves.png" not in result.err
    left = {path.name for path in out.iterdir()}
    assert "curves.png" not in left
    assert left >= {"time_to_target.png", "mine.png", "final.png"}


def test_the_same_command_runs_nothing_and_json_has_everything(copied, adamantine):
    out, _ = copied
    before = json.loads((out / "study.json").read_text())
    as_json = adamantine(*command(out, "--json"))
    assert f"16 of 16 runs are in {out} already" in as_json.err
    printed = json.loads(as_json.out)
    assert printed["runs"] == before["runs"]
    assert "--json" not in printed["command"]


def finished_run(accuracy):
    look = Look(1, 1.0, 0.1, 0.3, 0.3, accuracy)
    return TrialRun("adam", "tune", {"lr": 0.1}, 1, (look,), 2, 0.1, 4, 32)


def test_a_changed_plan_says_what_can_be_reused(tmp_path, capsys):
    output = StudyOutput(tmp_path)
    output.on_plan(16, [finished_run(0.9)] * 3, ["batch_size was 64 and is now 50"], ACCURACY)
    said = capsys.readouterr().err
    assert f"3 of 16 runs are in {tmp_path} already and are reused" in said
    assert "cannot be reused: batch_size was 64 and is now 50" in said
    output.on_reused([finished_run(0.9)] * 4)
    assert "7 of 16 runs are saved" in output.how_to_go_on()
    output.on_plan(3, [finished_run(0.9)] * 3, ["batch_size was 64 and is now 50"], ACCURACY)
    assert "cannot be reused" not in capsys.readouterr().err  # all are there


def test_what_is_reused_counts_for_the_best_so_far(tmp_path):
    output = TerminalStudyOutput(tmp_path)
    output.on_plan(16, [finished_run(0.8), finished_run(0.9)], [], ACCURACY)
    output.on_run(finished_run(0.7))
    output.on_reused([finished_run(0.85)])
    ((name, runs, best, _),) = output._rows()
    output.close()
    assert (name, runs) == ("adam", "4 runs")
    assert "90" in best


@pytest.mark.parametrize(
    ("options", "code", "saying"),
    [
        (["adamm"], 2, "did you mean 'adam'"),
        (["adam", "--seeds", "0"], 2, "seeds is 0, expected at least 1"),
        (["adam", "--workload", "digit"], 2, "did you mean 'digits'?"),
        (["adam", "--tune-for", "test"], 2, "expected one of metric, loss, train-loss"),
        (["adam", "--jobs", "0"], 2, "jobs is 0, expected at least 1"),
        (["adam", "--space", "lr=0:1:log"], 2, "lr=0:1:log"),
        (["adam", "--out", "/dev/null/study"], 1, "--out"),
    ],
)
def test_a_wrong_command_is_one_line(adamantine, tmp_path, monkeypatch, options, code, saying):
    monkeypatch.chdir(tmp_path)
    assert adamantine("compare", *options).failed(code, saying=saying)


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        (None, "holds no study.json"),
        ("{", "is not valid JSON"),
        ("{}", "the key 'plan' is missing"),
    ],
)
def test_there_is_nothing_to_report(adamantine, tmp_path, text, saying):
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    assert adamantine("report", tmp_path).failed(1, saying=saying)


@pytest.mark.parametrize("command", ["compare", "tune"])
def test_a_file_where_a_folder_should_be(adamantine, tmp_path, command):
    (tmp_path / "file").touch()
    result = adamantine(command, "adam", "--epochs", 1, "--out", tmp_path / "file")
    assert result.failed(1, saying="a file stands where a folder is expected")


def test_a_report_of_nothing_and_of_a_file(adamantine, tmp_path):
    assert adamantine("report", tmp_path / "x").failed(1, saying="there is no folder")
    (tmp_path / "file").touch()
    assert adamantine("report", tmp_path / "file").failed(1, saying="file is a file; name the")


def test_a_report_that_finds_the_disk_full_keeps_the_old_one(copied, adamantine, monkeypatch):
    out, _ = copied
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert adamantine("report", out).failed(1, saying="No space left on device")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def start(out, *options):
    return subprocess.Popen(
        [*COMPARE, "--workload", "cheap:slow", "--jobs", "2", "--out", out, *options],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def runs_in(out):
    path = out / "runs.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_runs(out, count):
    deadline = time.monotonic() + 120
    while runs_in(out) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def children_of(process):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return [int(word) for word in listed.stdout.split()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
@pytest.mark.slow
def test_kill_9_and_ctrl_c_lose_the_runs_in_flight_and_no_more(finished, tmp_path, monkeypatch):
    whole, cut = finished[0], tmp_path / "cut"
    dice = random.Random(5)
    for kill in (signal.SIGKILL, signal.SIGINT):
        process = start(cut)
        wait_for_runs(cut, runs_in(cut) + dice.randint(1, 5))
        time.sleep(dice.random() * 0.05)
        workers = children_of(process)
        done = runs_in(cut)
        process.send_signal(kill)  # to the parent alone: its workers have to notice
        _, err = process.communicate(timeout=60)
        assert process.returncode == (130 if kill == signal.SIGINT else -kill), err
        assert runs_in(cut) >= done > 0
        if kill == signal.SIGINT:
            assert f"{runs_in(cut)} of 16 runs are saved in {cut}. Go on with the same" in err
        deadline = time.monotonic() + 20
        while not all(map(gone, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(map(gone, workers))
    monkeypatch.chdir(FOLDER)
    assert run(command(cut, "--workload", "cheap:slow")) == 0
    assert bits(cut) == bits(whole)


def bits(out):
    """``study.json`` but for times, and for what tells the slow model from the other one."""
    whole = json.loads((out / "study.json").read_text())
    return json.dumps(without(whole, "started", "command", "workload", "fingerprint"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="limits the size of files with bash")
def test_a_full_disk_is_one_line_and_the_runs_before_it_are_kept(tmp_path):
    """A limit on the size of files stops the journal in the middle of a line."""
    limited = " ".join(["ulimit -f 8 && exec", *COMPARE, "--workload", "cheap:slow", "--jobs", "1"])
    result = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited} --out {tmp_path}"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1
    assert "runs.jsonl: File too large; the runs written before are kept" in result.stderr
    lines = (tmp_path / "runs.jsonl").read_text().split("\n")
    assert lines.pop() == ""
    assert lines
    for line in lines:
        json.loads(line)
