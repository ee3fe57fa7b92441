"""``adamantine lr-find``, as a person types it."""

import json

import pytest

from adamantine.cli.lr_find import run as command
from adamantine.records.lr_find import LrFindRecord


@pytest.fixture
def search(adamantine, tmp_path):
    """Search on the digits, quickly."""

    def call(*options):
        quick = "--workload", "digits", "--seeds", 2, "--steps", 12, "--out", tmp_path / "out"
        return adamantine("lr-find", *quick, *options)

    return call


def test_prints_what_it_found_and_leaves_picture_and_record(search, tmp_path):
    result = search("--optimizer", "sgd", "--momentum", 0.9)
    assert (result.code, result.err) == (0, "")
    record = LrFindRecord.from_json(json.loads((tmp_path / "out" / "lr_find.json").read_text()))
    decision, found = result.out.splitlines()[:2]
    rate = f"{record.suggestion.value:.2g}"
    assert decision.startswith(f"Use SGD(lr={float(rate)!r}, momentum=0.9): single seeds say ")
    assert decision == record.verdict[0].sentence
    assert found.startswith(f"Learning rate: {rate} (")
    assert record.reason in result.out
    assert f"Diverges: at {record.diverges_at:.2g}" in result.out
    assert record.settings == {"momentum": 0.9}
    assert (tmp_path / "out" / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lr_find.json", "lr_find.png"]


def test_json_is_the_record(search, tmp_path):
    data = json.loads(search("--json", "--seed", 3, "--batch-size", 32).out)
    assert data.pop("picture") == str(tmp_path / "out" / "lr_find.png")
    assert data == json.loads((tmp_path / "out" / "lr_find.json").read_text())
    assert (data["seed"], data["batch_size"], data["steps"]) == (3, 32, 12)


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        (("--momentum", 0.9), "adam has no --momentum"),
        (("--eps", -1), "Invalid epsilon value"),
        (("--optimizer", "adm"), "optimizer is 'adm'"),
        (("--workload", "nothing"), "nothing"),
        (("--seeds", 0), "seeds is 0"),
        (("--low", 1, "--high", 2), "two decades apart"),
        (("--device", "nowhere"), "--device nowhere cannot be used here"),
        (("--lr", 1), "--lr"),
    ],
)
def test_wrong_usage_is_one_line(search, options, saying):
    assert search(*options).failed(2, saying=saying)


def test_a_folder_that_cannot_be_made(adamantine, tmp_path):
    (tmp_path / "file").touch()
    result = adamantine("lr-find", "--workload", "digits", "--out", tmp_path / "file" / "out")
    assert result.failed(1, saying="cannot make the folder")


def test_ctrl_c_writes_nothing(search, tmp_path, monkeypatch):
    def interrupted(*arguments, on_step, **others):
        on_step("sweep, seed 0", 1, 24)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "find_learning_rate", interrupted)
    assert search().failed(130, saying="interrupted; nothing was written")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bar_on_a_terminal(search, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    result = search("--seed", 1)
    assert result.code == 0
    assert "sweep, seed 1" in result.err
