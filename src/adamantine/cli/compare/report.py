"""``adamantine report``, and what else writes a study's pictures and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adamantine.cli.compare.output import print_study
from adamantine.cli.train.output import note
from adamantine.errors import CheckpointError
from adamantine.records import StudyRecord, parse
from adamantine.report import STUDY_PICTURES, is_ours, study_html, study_pngs
from adamantine.train.files import write_bytes, write_text

STUDY, PAGE = "study.json", "report.html"


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


def write_pictures(pictures: Mapping[str, bytes], names: Sequence[str], folder: Path) -> None:
    """Write pictures; of `names`, those that an earlier report has left and this one has not go."""
    for name, picture in pictures.items():
        write_bytes(folder / name, picture)
    for stale in (folder / name for name in names if name not in pictures):
        if stale.is_file() and is_ours(stale.read_bytes()):
            stale.unlink()
