"""What a comparison leaves beside its record: a page and pictures, now or again."""

from pathlib import Path

from adamantine.cli.compare.output import print_study
from adamantine.cli.output.files import PAGE, write_pictures
from adamantine.cli.output.terminal import note
from adamantine.errors import CheckpointError
from adamantine.records import StudyRecord, parse
from adamantine.report import STUDY_PICTURES, study_html, study_pngs
from adamantine.train.files import write_text

STUDY = "study.json"


def run_report(folder: Path, *, as_json: bool) -> None:
    """Draw the study in `folder` again; runs nothing."""
    study = read_study(folder)
    written = write_report(study, folder)
    print_study(study, as_json=as_json)
    note(f"Saved in {folder}: {', '.join(written)}")


def read_study(folder: Path) -> StudyRecord:
    """The study in `folder`.

    Raises
    ------
    CheckpointError
        There is none, or its file cannot be read.
    """
    path = folder / STUDY
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = f"{folder} holds no {STUDY}" if folder.exists() else f"there is no folder {folder}"
        raise CheckpointError(
            f"{what}; name the --out of an `adamantine compare` or `adamantine tune` that has ended"
        ) from None
    except NotADirectoryError:
        raise CheckpointError(
            f"{folder} is a file; name the folder that --out of `adamantine compare` or "
            "`adamantine tune` named"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return StudyRecord.from_json(parse(text, str(path)), str(path))


def write_report(study: StudyRecord, folder: Path) -> list[str]:
    """Write page and pictures beside ``study.json``; returns the names of all files."""
    pictures = study_pngs(study)
    write_pictures(pictures, STUDY_PICTURES, folder)
    write_text(folder / PAGE, study_html(study))
    return [PAGE, STUDY, *pictures]
