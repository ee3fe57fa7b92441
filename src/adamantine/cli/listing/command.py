"""The options of ``adamantine list``."""

from adamantine.cli.options.declarations import AsJson


def list_command(as_json: AsJson = False) -> None:
    """List optimizers and workloads."""
    from adamantine.cli.listing.run import run_list

    run_list(as_json=as_json)
