"""What ``adamantine trace`` does: paths over functions of two numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adamantine.cli.output.files import make_folder
from adamantine.errors import UsageError
from adamantine.records.trace import PathRecord, TraceRecord
from adamantine.report.paths import ending, paths_png
from adamantine.report.paths_page import paths_page
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.trace import trace
from adamantine.train.files import write_atomically, write_text
from adamantine.workloads.surfaces import SURFACES, surface

ALL = "all"
CONTESTANTS = ("adam", "sgd", "momentum", "rmsprop")


def run_trace(
    specs: Sequence[str], surface_name: str, steps: int, out: Path, *, as_json: bool
) -> None:
    """Draw the contestants' paths into `out`, and print where they ended."""
    surfaces = list(SURFACES.values()) if surface_name == ALL else [surface(surface_name)]
    contestants = parse_contestants(list(specs) or list(CONTESTANTS))
    if steps < 1:
        raise UsageError(f"--steps is {steps}, expected at least 1")
    traces = [trace(one, contestants, steps) for one in surfaces]
    make_folder(out)
    picture, page = out / f"{surface_name}.png", out / f"{surface_name}.html"
    png = paths_png(traces)
    write_atomically(picture, lambda file: file.write(png))
    write_text(page, paths_page(traces))
    if as_json:
        data = {
            "picture": str(picture),
            "page": str(page),
            "surfaces": {one.surface: summary(one) for one in traces},
        }
        print(json.dumps(data, allow_nan=False))
        return
    console = Console()
    for one in traces:
        console.print(_table(one))
        console.print()
    print(f"Picture: {picture}\nPage: {page}")


def summary(record: TraceRecord) -> dict[str, Any]:
    """The record as JSON, but for what only a picture of it needs."""
    data = record.to_json()
    for name in ("landscape", "levels"):
        del data[name]
    for path in data["paths"]:
        path["final"], path["final_value"] = path["points"][-1], path["values"][-1]
    return data


def _table(record: TraceRecord) -> Table:
    table = Table(title=f"{record.title}: {record.formula}", title_justify="left", box=None)
    table.add_column("Optimizer")
    distance = () if record.minimum is None else ("distance",)
    for heading in ("lr", "x", "y", "value", *distance):
        table.add_column(heading, justify="right")
    table.add_column("How it ends")
    for path in record.paths:
        table.add_row(*_row(path))
    return table


def _row(path: PathRecord) -> list[str]:
    rate = f"{path.lr:g}" + (" (given)" if path.lr_given else "")
    distance = () if path.distance is None else (f"{path.distance:.3g}",)
    numbers = (f"{number:.3g}" for number in (*path.final, path.final_value))
    return [path.name, rate, *numbers, *distance, ending(path)]
