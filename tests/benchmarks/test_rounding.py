"""The experiment on parameters of 16 bits."""

import json
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import child, records, rounding

PNG = b"\x89PNG\r\n\x1a\n"


def result(loss):
    epochs = [
        {
            "epoch": epoch,
            "average_loss": loss + 1 / epoch,
            "test_loss": loss,
            "test_accuracy": 0.75,
            "train_seconds": 1.0,
            "test_seconds": 0.1,
            "lr": 1e-5,
        }
        for epoch in (1, 2)
    ]
    return {"epochs": epochs, "seconds": 1.0}


@pytest.fixture
def trained(monkeypatch):
    """What was asked of processes that train; none does."""
    calls = []

    def run(given, environment):
        asked = json.loads(given[-1])
        calls.append(asked)
        loss = 2.0 if asked["settings"].get("param_rounding") == "nearest" else 1.0
        return child.Child(json.dumps(result(loss + asked["seed"])), 0, 0)

    monkeypatch.setattr(child, "run", run)
    monkeypatch.setattr(rounding, "needs_mnist", lambda folder: folder)
    return calls


def test_rounding_differs_in_rounding_alone(trained):
    found = rounding.run(records.Options(jobs=2, rounds=2))
    assert [len(results) for results in found["results"].values()] == [2] * 5
    by_dtype = {}
    for call in trained:
        assert call["workload"] == "mnist"
        assert call["settings"]["lr"] == 1e-5
        kind = (call["settings"].get("param_rounding"), call["settings"]["state_dtype"])
        by_dtype.setdefault(call["param_dtype"], set()).add(kind)
    assert by_dtype == {
        "float32": {(None, "float32")},
        "bfloat16": {
            ("nearest", "float32"),
            ("stochastic", "float32"),
            ("kahan", "float32"),
            ("stochastic", "int8"),
        },
    }
    # Seeds 0 and 1: losses of 2 and 3 against 1 and 2.
    printed = rounding.to_markdown(found)
    assert "| float32 | 1.5000 |  | 75.00% |" in printed
    assert "| bfloat16, nearest | 2.5000 | **1.6667 ×** (1.5000 – 2.0000) | 75.00% |" in printed


def test_rounding_draws_the_mean_of_the_seeds(trained):
    found = rounding.run(records.Options(jobs=1, rounds=2))
    drawn = rounding._mean_record(found["results"]["nearest"])
    assert [epoch.test_loss for epoch in drawn.epochs] == [2.5, 2.5]
    assert [epoch.average_loss for epoch in drawn.epochs] == [3.5, 3.0]


def test_the_picture_is_drawn_again_from_what_is_saved(tmp_path, trained, monkeypatch, capsys):
    out = ["--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["", "rounding", "--quick", "--jobs", "1", *out])
    assert command.main() == 0
    printed = capsys.readouterr().out
    picture = (tmp_path / "rounding.png").read_bytes()
    assert picture.startswith(PNG)
    assert {call["workload"] for call in trained} == {"digits"}

    trained.clear()
    (tmp_path / "rounding.png").unlink()
    monkeypatch.setattr(sys, "argv", ["", "rounding", "--saved", *out])
    assert command.main() == 0
    assert capsys.readouterr().out == printed
    assert (tmp_path / "rounding.png").read_bytes() == picture
    assert not trained
