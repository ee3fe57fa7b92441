"""``adamantine list``."""

import inspect
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from adamantine import workloads
from adamantine.cli.optimizers import OPTIMIZERS, settings_of


def run_list(*, as_json: bool) -> None:
    """Print every optimizer with its settings and every workload with its data."""
    if as_json:
        print(json.dumps({"optimizers": _optimizers(), "workloads": _workloads()}))
        return
    console = Console()
    optimizers = Table("Optimizer", "What it does", "Settings and defaults", box=None)
    for row in _optimizers():
        settings = "\n".join(f"{name} {value}" for name, value in row["settings"].items())
        optimizers.add_row(row["name"], row["description"], settings)
    console.print(optimizers)
    console.print()
    table = Table("Workload", "What it is", "Data", box=None)
    for row in _workloads():
        table.add_row(row["name"], row["description"], row["data"])
    console.print(table)


def _optimizers() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": (inspect.getdoc(cls) or "").partition("\n")[0],
            "settings": settings_of(name),
        }
        for name, cls in OPTIMIZERS.items()
    ]


def _workloads() -> list[dict[str, str]]:
    return [
        {"name": name, "description": description, "data": data}
        for name, description, data in workloads.names()
    ]
