"""What ``adamantine compare`` does."""

from collections.abc import Sequence
from pathlib import Path

from adamantine.cli.compare.output import print_study, study_output
from adamantine.cli.compare.report import write_report
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.output.tables import write_tables
from adamantine.cli.output.terminal import note
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
    cluster: str | None,
    skip_failed: bool,
    data_dir: Path | None,
    command: str,
    as_json: bool,
    log: Sequence[str] = (),
    export: Path | None = None,
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
                cluster=cluster,
                skip_failed=skip_failed,
                data_dir=data_dir,
                listener=output,
                command=command,
                trackers=log,
            )
    except KeyboardInterrupt:
        raise Interrupted(output.how_to_go_on()) from None
    finally:
        output.close()
    written = write_report(study, out)
    print_study(study, as_json=as_json)
    if export is not None:
        write_tables(study, export)
    note(f"Saved in {out}: {', '.join(written)}")
