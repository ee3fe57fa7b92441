"""The commands, put together. What they do is imported when they run."""

from typing import Annotated, Any

import typer
from typer import Abort, Option

from adamantine.cli.compare.command import compare
from adamantine.cli.data.command import data
from adamantine.cli.demo.command import demo
from adamantine.cli.export import export
from adamantine.cli.listing.command import list_command
from adamantine.cli.lr_find.command import lr_find
from adamantine.cli.report import report
from adamantine.cli.trace.command import trace
from adamantine.cli.train.command import train
from adamantine.cli.tune.command import tune
from adamantine.version import __version__

__all__ = ["Abort", "ClickException", "app", "command"]

# Typer carries its own copy of Click or imports it, depending on its version.
ClickException: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Adam for PyTorch without its three costs: memory, step time, and doubt.",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adamantine {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def adamantine(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool,
        Option("--version", help="Print the version and exit.", callback=_print_version,
               is_eager=True),
    ] = False,
) -> None:  # fmt: skip
    """Adam for PyTorch without its three costs: memory, step time, and doubt."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# In the order in which --help lists them.
app.command()(train)
app.command()(demo)
app.command()(data)
app.command("list")(list_command)
app.command()(compare)
app.command()(tune)
app.command()(report)
app.command()(export)
app.command()(trace)
app.command("lr-find")(lr_find)

command = typer.main.get_command(app)
