"""``adamantine tune``."""

from pathlib import Path

import typer

from adamantine.cli.compare.report import PAGE, write_pictures
from adamantine.cli.compare.run import repeat
from adamantine.cli.interrupt import Interrupted
from adamantine.cli.train.output import note
from adamantine.cli.tune.output import print_tune, tune_output
from adamantine.errors import CheckpointError
from adamantine.records import TuneRecord, parse
from adamantine.report import TUNE_PICTURES, tune_html, tune_pngs
from adamantine.study import TunePlan, tune
from adamantine.study.tune.listener import FILES, TUNE
from adamantine.train.files import write_text


def run_tune(
    plan: TunePlan,
    *,
    workload: str,
    out: Path,
    jobs: int | None,
    skip_failed: bool,
    storage: str | None,
    study: str | None,
    data_dir: Path | None,
    command: str,
    as_json: bool,
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
                skip_failed=skip_failed,
                storage=storage,
                study_name=study,
                data_dir=data_dir,
                listener=output,
                command=command,
            )
    except KeyboardInterrupt:
        raise Interrupted(output.how_to_go_on()) from None
    finally:
        output.close()
    written = _write_report(found, out)
    print_tune(found, as_json=as_json)
    files = [*written, *(name for name in FILES if (out / name).exists())]
    note(f"Saved in {out}: {', '.join(files)}")


def run_tune_report(folder: Path, *, as_json: bool) -> None:
    """Draw the search in `folder` again; runs nothing."""
    path = folder / TUNE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    found = TuneRecord.from_json(parse(text, str(path)), str(path))
    written = _write_report(found, folder)
    print_tune(found, as_json=as_json)
    note(f"Saved in {folder}: {', '.join(written)}")


def _write_report(found: TuneRecord, folder: Path) -> list[str]:
    """Write page and pictures beside the record; returns their names."""
    pictures = tune_pngs(found)
    write_pictures(pictures, TUNE_PICTURES, folder)
    write_text(folder / PAGE, tune_html(found))
    return [PAGE, *pictures]


def repeat_without_password(context: typer.Context, storage: str | None) -> str:
    """The command line that repeats this one, as a record may hold it."""
    if storage is None:
        return repeat(context)
    from adamantine.study.tune.storage import shown

    return repeat(context, {"storage": shown(storage)})
