"""A study's tables hold what its record holds, in CSV and in Parquet alike."""

import csv
import io
import json
import math
import re
import sys
from pathlib import Path

import cheap
import pytest

from adamantine.cli import run as command_line
from adamantine.export import TABLES, as_csv, as_parquet, tables
from adamantine.records import StudyRecord, TuneRecord
from adamantine.study import Plan, TunePlan, compare, tune

KINDS = {str: "text", int: "integer", float: "number", bool: "truth"}
READ = {str: str, int: int, float: float, bool: {"true": True, "false": False}.get}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A comparison in which some runs diverge, and a search in which some are stopped."""
    comparison, search = tmp_path_factory.mktemp("compare"), tmp_path_factory.mktemp("tune")
    plan = Plan(("adam", "sgd"), seeds=2, budget=3, tuning_seeds=1, epochs=1,
                space=("sgd:lr=0.1:1e38:log",))  # fmt: skip
    compare(cheap.workload, plan, out=comparison)
    tune(cheap.workload, TunePlan(("adam",), trials=8, epochs=3, seeds=2), out=search)
    return comparison, search


@pytest.fixture(scope="module")
def records(folders):
    comparison, search = folders
    return (
        StudyRecord.from_json(json.loads((comparison / "study.json").read_text())),
        TuneRecord.from_json(json.loads((search / "tune.json").read_text())),
    )


def read_csv(name, data):
    rows = csv.reader(io.StringIO(data.decode(), newline=""))
    assert next(rows) == [column.name for column in TABLES[name]]
    return [
        tuple(
            READ[column.kind](cell) if cell else None
            for column, cell in zip(TABLES[name], row, strict=True)
        )
        for row in rows
    ]


def read_parquet(name, data):
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(data))
    assert [(field.name, field.metadata[b"meaning"].decode()) for field in table.schema] == [
        (column.name, column.meaning) for column in TABLES[name]
    ]
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_files_give_back_the_tables(records):
    for record in records:
        for name, rows in tables(record).items():
            assert all(len(row) == len(TABLES[name]) for row in rows)
            # NaN is not itself, and prints as itself.
            assert repr(read_csv(name, as_csv(name, rows))) == repr(rows)
            assert repr(read_parquet(name, as_parquet(name, rows))) == repr(rows)


def named(record, name):
    return [
        dict(zip((column.name for column in TABLES[name]), row, strict=True))
        for row in tables(record)[name]
    ]


def test_the_tables_hold_the_record(records):
    for record in records:
        trials = record.trials if isinstance(record, TuneRecord) else ()
        runs = [*(trial.run for trial in trials), *record.runs]
        rows, settings = named(record, "runs"), named(record, "settings")
        assert [row["run"] for row in rows] == list(range(len(runs)))
        assert [row["trial"] for row in rows if row["trial"] is not None] == [
            trial.number for trial in trials
        ]
        for row, run in zip(rows, runs, strict=True):
            own = {
                each["name"]: json.loads(each["value"])
                for each in settings
                if each["setting"] == row["setting"]
            }
            assert own == json.loads(json.dumps({**run.settings, **run.training}))
            assert (row["contestant"], row["seed"], row["steps"]) == (
                run.contestant, run.seed, run.steps,
            )  # fmt: skip
            assert (row["status"] == "diverged") == (run.diverged is not None)
            looks = [look for look in named(record, "looks") if look["run"] == row["run"]]
            assert [look["validation_loss"] for look in looks] == [
                look.validation_loss for look in run.looks
            ]
    study, search = records
    assert {row["status"] for row in named(study, "runs")} == {"finished", "diverged"}
    assert "pruned" in {row["status"] for row in named(search, "runs")}
    chosen = {row["setting"] for row in named(study, "settings") if row["chosen"]}
    finals = {row["setting"] for row in named(study, "runs") if row["purpose"] == "final"}
    assert chosen == finals
    assert all(
        math.isclose(row["number"], json.loads(row["value"]))
        for row in named(study, "settings")
        if row["name"] == "lr"
    )
    pairs = named(study, "pairs")
    assert [row["p_holm"] for row in pairs] == [each.p_holm for each in study.differences]
    assert [row["high"] for row in pairs if row["high"] is not None] == [
        each.difference.high for each in study.differences if each.difference
    ]


def test_the_command_writes_eight_files(folders, tmp_path, capsys):
    for folder in folders:
        assert command_line(["export", str(folder)]) == 0
        written = {path.name for path in (folder / "export").iterdir()}
        assert written == {f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")}
    assert command_line(["export", str(tmp_path / "nowhere")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_without_pyarrow_there_is_csv_and_a_note(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("adamantine.cli.output.tables.find_spec", lambda _: None)
    assert command_line(["export", str(folders[0]), "--to", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.csv" for name in TABLES}
    assert "pip install 'adamantine[parquet]'" in capsys.readouterr().err


def test_the_page_describes_every_column():
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    for name, columns in TABLES.items():
        section = page.partition(f"| column of `{name}` | | |\n|---|---|---|\n")[2]
        rows = re.match(r"(?:\|.*\n)*", section).group().splitlines()
        assert rows == [f"| `{c.name}` | {KINDS[c.kind]} | {c.meaning} |" for c in columns]
