"""What ``adamantine list`` does."""

import inspect
import json
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from adamantine import workloads
from adamantine.optim.by_name import OPTIMIZERS, settings_of


def run_list(*, as_json: bool) -> None:
    """Print every optimizer with its settings and every workload with its data."""
    if as_json:
        listed = [listing._asdict() for listing in workloads.names()]
        print(json.dumps({"optimizers": _optimizers(), "workloads": listed}))
        return
    console = Console()
    optimizers = Table("Optimizer", "What it does", "Settings and defaults", box=None)
    for row in _optimizers():
        settings = "\n".join(f"{name} {value}" for name, value in row["settings"].items())
        optimizers.add_row(row["name"], row["description"], settings)
    console.print(optimizers)
    console.print()
    what = "What it is (time: five epochs of Adam on one core)"
    table = Table(Column("Workload", style="bold", no_wrap=True), what, box=None)
    for listing in workloads.names():
        table.add_row(listing.name, _facts(listing))
    console.print(table)


def _facts(listing: workloads.Listing) -> str:
    """A line for each: six columns beside each other would need 150 characters."""
    facts = ("size", "metric", "time", "data")
    lines = (f"[dim]{fact:<8}[/dim]{getattr(listing, fact)}" for fact in facts)
    return "\n".join((listing.description, *lines))


def _optimizers() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": (inspect.getdoc(cls) or "").partition("\n")[0],
            "settings": settings_of(name),
        }
        for name, cls in OPTIMIZERS.items()
    ]
