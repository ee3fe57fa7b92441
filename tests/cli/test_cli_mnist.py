"""The command on the real data; skipped where it is not."""

import json

import pytest

from workloads.fake_mnist import NAMES, real_mnist

MNIST = real_mnist()
pytestmark = pytest.mark.skipif(
    MNIST is None, reason="needs MNIST in $ADAMANTINE_DATA or ../shared/data"
)


def epochs(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_adam_shows_what_the_tutorial_shows(adamantine):
    first, second = epochs(adamantine("train", "--data-dir", MNIST, "--epochs", 2, "--json"))
    assert 0.30 < first["average_loss"] < 0.38
    assert 0.93 < first["test_accuracy"] < 0.96
    assert 0.95 < second["test_accuracy"] < 0.975


def test_sgd_lands_where_sgd_lands(adamantine):
    options = ["--optimizer", "sgd", "--lr", 0.01, "--epochs", 1]
    (first,) = epochs(adamantine("train", "--data-dir", MNIST, *options, "--json"))
    assert 1.0 < first["average_loss"] < 1.5
    assert 0.83 < first["test_accuracy"] < 0.89


def test_data_verifies(adamantine, monkeypatch):
    """The folder is given, or in the environment; nothing is downloaded for either."""
    by_option = adamantine("data", "mnist", "--data-dir", MNIST)
    monkeypatch.setenv("ADAMANTINE_DATA", str(MNIST))
    by_environment = adamantine("data", "mnist", "--json")
    assert by_option.code == by_environment.code == 0
    assert [line[:3] for line in by_option.out.splitlines()] == ["ok "] * 4
    files = json.loads(by_environment.out)
    assert [file["name"] for file in files] == NAMES
    assert all(file["ok"] and file["path"] in by_option.out for file in files)


def test_data_names_a_damaged_file(adamantine, tmp_path):
    for path in MNIST.rglob("*ubyte*"):
        (tmp_path / path.name).symlink_to(path)
    damaged = next(tmp_path.glob("t10k-labels*"))
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-40])
    result = adamantine("data", "mnist", "--data-dir", tmp_path, "--json")
    assert result.failed(1, saying=str(damaged))
    assert [file["ok"] for file in json.loads(result.out)] == [True, True, True, False]
    assert damaged.read_bytes() == content[:-40]
