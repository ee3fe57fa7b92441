"""What docs/ says about commands and training is so."""

import re
from pathlib import Path

import pytest

from adamantine.cli.app import command
from adamantine.train import RunFolder
from adamantine.train.schedules import NAMES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def table(name, heading):
    """First cells of the table that begins with `heading`."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    rows = lines[next(i for i, line in enumerate(lines) if line.startswith(heading)) + 2 :]
    end = next((i for i, row in enumerate(rows) if not row.startswith("|")), len(rows))
    return [re.split(r"\s*\|\s*", row)[1].strip("`") for row in rows[:end]]


@pytest.mark.parametrize(
    ("name", "heading"), [("train", "| option"), ("compare", "| compare's"), ("trace", "| trace's")]
)
def test_every_option_is_in_the_table(name, heading):
    options = [option.opts[0] for option in command.commands[name].params]
    documented = [cell.split()[0] for cell in table("cli.md", heading)]
    assert documented == options


def test_every_option_of_lr_find_is_in_the_table():
    flags = [option.opts[0] for option in command.commands["lr-find"].params]
    cells = table("cli.md", "| option of `lr-find`")
    assert [flag for cell in cells for flag in re.findall(r"--[\w-]+", cell)] == flags


def test_every_schedule_is_in_the_table():
    assert table("training.md", "| `schedule`") == list(NAMES)


def test_every_file_of_a_run_is_in_the_table(tmp_path):
    folder = RunFolder(tmp_path)
    files = folder.run, folder.metrics, folder.checkpoint, folder.curves, folder.stats
    assert table("training.md", "| file") == [path.name for path in files]


def run_example(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    exec(compile(example, f"docs/{name}", "exec"), {})


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_example("training.md")
    assert 0.85 < float(capsys.readouterr().out) < 0.97
    assert RunFolder("runs/digits").read().status == "finished"


def test_the_example_of_lr_find_prints_a_rate_between_those_of_the_page(capsys):
    run_example("lr_find.md")
    assert 0.007 < float(capsys.readouterr().out) < 0.01
