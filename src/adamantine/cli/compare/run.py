"""``adamantine compare``."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import typer

from adamantine.cli.compare.output import print_study, study_output
from adamantine.cli.compare.report import write_report
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.train.output import note
from adamantine.study import Plan, compare

DEFAULT_CONTESTANTS = ("adam", "sgd", "momentum")


def default_epochs(workload: str) -> int:
    """Five; of the few digits it takes forty until the slowest optimizers have got there."""
    return 40 if workload == "digits" else 5


def run_compare(
    plan: Plan,
    *,
    workload: str,
    out: Path,
    jobs: int | None,
    skip_failed: bool,
    data_dir: Path | None,
    command: str,
    as_json: bool,
) -> None:
    """Compare, print a table and the verdict, and leave the report in `out`."""
    output = study_output(out)
    try:
        with output.interrupt:
            study = compare(
                workload,
                plan,
                out=out,
                jobs=jobs,
                skip_failed=skip_failed,
                data_dir=data_dir,
                listener=output,
                command=command,
            )
    except KeyboardInterrupt:
        raise Interrupted(output.how_to_go_on()) from None
    finally:
        output.close()
    written = write_report(study, out)
    print_study(study, as_json=as_json)
    note(f"Saved in {out}: {', '.join(written)}")


def repeat(context: typer.Context, instead: Mapping[str, str] | None = None) -> str:
    """The command line that repeats this one: what was given, but for how it is printed.

    `instead` has what stands in place of an option's value, by its name.
    """
    words = ["adamantine", context.info_name or ""]
    params = {**context.params, **(instead or {})}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name == "DEFAULT" or parameter.name == "as_json":
            continue
        given = params[parameter.name or ""]
        if given is True:  # a flag stands alone
            words.append(parameter.opts[0])
            continue
        values = [str(value) for value in (given if isinstance(given, list | tuple) else [given])]
        if parameter.param_type_name == "argument":
            words += values
        else:
            words += [word for value in values for word in (parameter.opts[0], value)]
    return shlex.join(words)
