"""What ``adamantine tune`` does."""

from collections.abc import Sequence
from pathlib import Path

from adamantine.cli.interrupt import Interrupted
from adamantine.cli.output.tables import write_tables
from adamantine.cli.output.terminal import note
from adamantine.cli.tune.output import print_tune, tune_output
from adamantine.cli.tune.report import write_report
from adamantine.study import TunePlan, tune
from adamantine.study.tune.listener import FILES


def run_tune(
    plan: TunePlan,
    *,
    workload: str,
    out: Path,
    jobs: int | None,
    cluster: str | None,
    skip_failed: bool,
    storage: str | None,
    study: str | None,
    data_dir: Path | None,
    command: str,
    as_json: bool,
    log: Sequence[str] = (),
    export: Path | None = None,
) -> None:
    """Search, print what was found and the verdict, and leave it in `out`."""
    output = tune_output(out)
    try:
        with output.interrupt:
            found = tune(
                workload,
                plan,
                out=out,
                jobs=jobs,
                cluster=cluster,
                skip_failed=skip_failed,
                storage=storage,
                study_name=study,
                data_dir=data_dir,
                listener=output,
                command=command,
                trackers=log,
            )
    except KeyboardInterrupt:
        raise Interrupted(output.how_to_go_on()) from None
    finally:
        output.close()
    written = write_report(found, out)
    print_tune(found, as_json=as_json)
    if export is not None:
        write_tables(found, export)
    files = [*written, *(name for name in FILES if (out / name).exists())]
    note(f"Saved in {out}: {', '.join(files)}")
