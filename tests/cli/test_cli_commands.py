"""The other commands, and what all have in common."""

import json

import pytest

from adamantine.version import __version__


def test_version(adamantine):
    result = adamantine("--version")
    assert (result.code, result.out, result.err) == (0, f"adamantine {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(adamantine, arguments):
    result = adamantine(*arguments)
    assert result.code == 0
    assert all(name in result.out for name in ("train", "demo", "data", "list"))


def test_an_unknown_command(adamantine):
    assert adamantine("tarin").failed(2, saying="tarin")


def test_list(adamantine):
    listed = json.loads(adamantine("list", "--json").out)
    assert {one["name"] for one in listed["optimizers"]} >= {"adam", "adamw", "rmsprop", "sgd"}
    assert {one["name"] for one in listed["workloads"]} >= {"mnist", "mnist-cnn", "digits"}
    (adam,) = (one for one in listed["optimizers"] if one["name"] == "adam")
    assert adam["settings"]["lr"] == 0.001
    assert adam["settings"]["betas"] == [0.9, 0.999]
    assert adam["description"].startswith("Adam")
    assert all(
        set(one) == {"name", "description", "size", "metric", "time", "data"}
        for one in listed["workloads"]
    )
    text = adamantine("list").out
    assert all(one["name"] in text for group in listed.values() for one in group)


@pytest.mark.parametrize("columns", [80, 120])
def test_every_fact_of_a_workload_has_a_line(adamantine, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = adamantine("list").out
    assert "…" not in result
    lines = [line.strip() for line in result.splitlines()]
    assert max(map(len, result.splitlines())) <= columns
    for one in json.loads(adamantine("list", "--json").out)["workloads"]:
        begin = next(i for i, line in enumerate(lines) if line.split()[:1] == [one["name"]])
        facts = [f"{fact:<8}{one[fact]}" for fact in ("size", "metric", "time", "data")]
        size = lines.index(facts[0], begin)
        assert lines[size : size + 4] == facts
        words = " ".join(lines[begin:size]).split()
        assert words == [one["name"], *one["description"].split()]


def test_demo(adamantine, tmp_path, monkeypatch):
    result = adamantine("demo", "--out", tmp_path / "demo")
    assert result.code == 0
    assert f"Picture: {tmp_path / 'demo' / 'demo.png'}\n" in result.out
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    runs = json.loads((tmp_path / "demo" / "demo.json").read_text())
    last = {label: run["epochs"][-1]["test_accuracy"] for label, run in runs.items()}
    assert last["Adam"] > 0.94 > last["SGD"] > 0.8
    assert all(f"{accuracy:.2%}" in result.out for accuracy in last.values())


def test_demo_as_json_into_a_folder_that_is_one_already(adamantine, tmp_path):
    result = json.loads(adamantine("demo", "--out", tmp_path, "--json").out)
    assert set(result) == {"picture", "runs"}
    assert json.loads((tmp_path / "demo.json").read_text()) == result["runs"]


def test_demo_where_it_cannot_write(adamantine, tmp_path):
    (tmp_path / "file").touch()
    result = adamantine("demo", "--out", tmp_path / "file")
    assert result.failed(1, saying="choose another one with --out")


def test_data_of_another_name(adamantine):
    assert adamantine("data", "cifar").failed(2, saying="expected mnist")
    assert adamantine("data").failed(2, saying="Missing argument")


def test_an_error_of_several_lines_is_told_in_one(adamantine, monkeypatch):
    from adamantine.cli.listing import run as listing
    from adamantine.errors import WorkloadError

    def fail(**options):
        raise WorkloadError("two\n  lines")

    monkeypatch.setattr(listing, "run_list", fail)
    assert adamantine("list").failed(1, saying="adamantine: two lines\n")


def test_ctrl_c_anywhere_else(adamantine, monkeypatch):
    from adamantine.cli.listing import run as listing

    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "run_list", interrupt)
    assert adamantine("list").failed(130, saying="interrupted")
