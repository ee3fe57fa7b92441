"""Runs that are interrupted, go on, or are already there."""

import json
import re

import pytest
import torch

from cli.runs import TWO_LINES, weights, without_times


def test_a_finished_run_is_not_overwritten_unless_asked_for(digits, tmp_path):
    digits("--out", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert digits("--out", tmp_path, "--seed", 1).failed(1, saying="--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert digits("--out", tmp_path, "--seed", 1, "--overwrite").code == 0
    assert json.loads((tmp_path / "run.json").read_text())["configuration"]["seed"] == 1


def test_a_request_that_is_wrong_overwrites_nothing(digits, tmp_path):
    digits("--out", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for wrong in (["--lr", -1], ["--data-dir", "x"], ["--threads", 0], ["--device", "abacus"]):
        assert digits("--out", tmp_path, "--overwrite", *wrong).code == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def unfinished(digits, tmp_path, monkeypatch):
    """A run of three epochs that Ctrl-C ended in the second."""
    from adamantine.cli.train.output import TrainOutput

    out = tmp_path / "run"
    options = ["--epochs", 3, "--lr", 0.002, "--schedule", "one-cycle", "--seed", 5]

    def interrupt(self, step):
        if self.epochs == 1 and step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainOutput, "on_step", interrupt)
        result = digits(*options, "--out", out)
    return out, options, result


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(unfinished):
    out, _, result = unfinished
    assert result.failed(130, saying="interrupted; 1 epoch saved. Go on with: ")
    assert result.err.endswith(f"adamantine train --resume --out {out}\n")
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 1


def test_the_command_it_prints_finishes_the_run_bit_for_bit(
    unfinished, adamantine, digits, tmp_path
):
    out, options, interrupted = unfinished
    digits(*options, "--out", tmp_path / "whole")
    result = adamantine(*interrupted.err.split("adamantine ")[-1].split())
    assert result.code == 0
    assert re.fullmatch(f"(?:{TWO_LINES}){{2}}", result.out)  # epochs 2 and 3
    expected, now = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(now[name], expected[name]) for name in expected)
    assert without_times((out / "metrics.jsonl").read_text()) == without_times(
        (tmp_path / "whole" / "metrics.jsonl").read_text()
    )


def test_options_may_be_repeated_but_not_changed(unfinished, adamantine):
    out, options, _ = unfinished
    changed = adamantine("train", "--resume", "--out", out, "--lr", 0.003)
    assert changed.failed(1, saying="optimizer.lr was 0.002 and is now 0.003")
    repeated = adamantine("train", "--workload", "digits", *options, "--resume", "--out", out)
    assert repeated.code == 0


def test_an_unfinished_run_is_not_begun_again_unless_asked_for(unfinished, digits):
    out, _, _ = unfinished
    result = digits("--out", out)
    assert result.failed(1, saying="--resume")
    assert "--overwrite" in result.err


def test_resuming_a_finished_run_draws_it_again(digits, tmp_path):
    digits("--out", tmp_path)
    (tmp_path / "curves.png").unlink()
    result = digits("--out", tmp_path, "--resume")
    assert result.code == 0
    assert result.out == ""
    assert result.err.startswith(f"The run in {tmp_path} is finished: 2 epochs\n")
    assert (tmp_path / "curves.png").exists()


def test_resuming_nothing_begins_and_says_so(digits, tmp_path):
    result = digits("--out", tmp_path / "new", "--resume")
    assert result.code == 0
    assert f"No run in {tmp_path / 'new'} yet: starting from the beginning\n" in result.err


def test_more_epochs_and_then_fewer(digits, tmp_path):
    """What `--epochs 3` gives from the start; the fixture asks for two."""
    digits("--out", tmp_path / "whole", "--epochs", 3)
    out = tmp_path / "run"
    digits("--out", out)
    assert digits("--resume", "--out", out, "--epochs", 3).code == 0
    expected, now = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(now[name], expected[name]) for name in expected)
    assert json.loads((out / "run.json").read_text())["options"]["epochs"] == 3
    assert digits("--resume", "--out", out).failed(1, saying="give --epochs 3 or more")


def test_data_that_changed(digits, tmp_path, monkeypatch):
    digits("--out", tmp_path)
    monkeypatch.setattr("adamantine.train.config.data_sum", lambda *data: 1)
    more = ["--resume", "--out", tmp_path, "--epochs", 3]
    assert digits(*more).failed(1, saying="the data have changed: their sum was ")
    assert digits(*more, "--allow-changed-data").code == 0


@pytest.mark.parametrize("value", ["five", True, [1]])
def test_options_in_a_damaged_record(unfinished, adamantine, value):
    out, _, _ = unfinished
    record = json.loads((out / "run.json").read_text())
    record["options"]["epochs"] = value
    (out / "run.json").write_text(json.dumps(record))
    result = adamantine("train", "--resume", "--out", out)
    assert result.failed(1, saying="run.json: option epochs is")
