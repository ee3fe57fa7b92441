"""The first command of docs/tune.md: what it says, and the picture it draws."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from adamantine.records import TuneRecord
from adamantine.report import tune_pngs
from benchmarks import child
from benchmarks.records import Options, Record
from benchmarks.runs import paths
from benchmarks.studies.compact import compact, restored
from benchmarks.studies.comparison import smaller

TRIALS, TRIALS_QUICK = 30, 12


def run(options: Options) -> Record:
    """In one process, so that the search is the same every time."""
    trials = TRIALS_QUICK if options.quick else TRIALS
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "adamantine", "tune", "adam", "--trials", str(trials)]
        child.run([*command, "--jobs", "1", "--out", folder], {"PYTHONPATH": paths()})
        found = json.loads((Path(folder) / "tune.json").read_text(encoding="utf-8"))
    return {"search": compact(found)}


def search_of(found: Record) -> TuneRecord:
    """The search."""
    return TuneRecord.from_json(restored(found["search"]))


def images(found: Record) -> dict[str, bytes]:
    """Which settings mattered, if the trials were enough to tell."""
    drawn = tune_pngs(search_of(found))
    return {"tune.png": smaller(drawn["settings.png"])} if "settings.png" in drawn else {}


def to_markdown(found: Record) -> str:
    """What the command prints, but for the table in its middle."""
    search = search_of(found)
    first, *evidence = [each.sentence for each in search.verdict if each.about != "caution"]
    return "\n".join(["```", first, search.best.python, "…", *evidence, "```"])
