"""What a search leaves beside its record: a page and pictures, now or again."""

from pathlib import Path

from adamantine.cli.output.files import PAGE, write_pictures
from adamantine.cli.output.terminal import note
from adamantine.cli.tune.output import print_tune
from adamantine.errors import CheckpointError
from adamantine.records import TuneRecord, parse
from adamantine.report import TUNE_PICTURES, tune_html, tune_pngs
from adamantine.study.tune.listener import TUNE
from adamantine.train.files import write_text


def run_tune_report(folder: Path, *, as_json: bool) -> None:
    """Draw the search in `folder` again; runs nothing."""
    found = read_tune(folder)
    written = write_report(found, folder)
    print_tune(found, as_json=as_json)
    note(f"Saved in {folder}: {', '.join(written)}")


def read_tune(folder: Path) -> TuneRecord:
    """The search in `folder`.

    Raises
    ------
    CheckpointError
        Its file cannot be read.
    """
    path = folder / TUNE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return TuneRecord.from_json(parse(text, str(path)), str(path))


def write_report(found: TuneRecord, folder: Path) -> list[str]:
    """Write page and pictures beside the record; returns their names."""
    pictures = tune_pngs(found)
    write_pictures(pictures, TUNE_PICTURES, folder)
    write_text(folder / PAGE, tune_html(found))
    return [PAGE, *pictures]
