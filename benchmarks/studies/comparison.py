"""An `adamantine compare` whose command stands on a page: what it found, for that page.

Runs are kept as the command keeps them, so that a study goes on where it was stopped, and another
analysis of the same runs trains nothing.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from adamantine.records import Contestant, StudyRecord
from adamantine.report import study_pngs
from benchmarks import child
from benchmarks.mnist import needs_mnist
from benchmarks.records import Options, Record
from benchmarks.runs import paths
from benchmarks.studies.compact import compact, restored

WIDTH = 1600
QUICK = "--workload digits --epochs 1 --budget 2 --seeds 2 --tuning-seeds 2"


@dataclass(frozen=True)
class Comparison:
    """A study.

    Parameters
    ----------
    arguments
        Of `adamantine compare`, but for ``--out``, ``--jobs`` and ``--data-dir``.
    runs
        The folder of its runs among the journals.
    pictures
        Which of the report's pictures go into ``docs/images``, and under which names.
    reads_mnist
        Whether the workload does.
    """

    arguments: str
    runs: str
    pictures: Mapping[str, str] = field(default_factory=dict)
    reads_mnist: bool = True

    def run(self, options: Options) -> Record:
        """Run the command, or what is missing of it, and keep what pages need."""
        words = [*shlex.split(self.arguments), "--jobs", str(options.jobs_or_cores())]
        if options.quick:
            words += QUICK.split()
        elif self.reads_mnist:
            words += ["--data-dir", str(needs_mnist(options.data_dir).root.resolve())]
        with TemporaryDirectory() as temporary:
            out = (options.journals or Path(temporary)) / self.runs
            command = [sys.executable, "-m", "adamantine", "compare", *words, "--out", str(out)]
            child.run(command, {"PYTHONPATH": paths()})
            study = json.loads((out / "study.json").read_text(encoding="utf-8"))
        # Curves are of the final runs, and trials hold the scores of the others.
        study["runs"] = [
            run for run in study["runs"] if self.pictures and run["purpose"] == "final"
        ]
        return {"arguments": self.arguments, "study": compact(study)}

    def images(self, found: Record) -> dict[str, bytes]:
        """By file name; by epochs alone, because other work kept the machine busy."""
        drawn = study_pngs(study_of(found), units=("epochs",))
        return {name: smaller(drawn[picture]) for picture, name in self.pictures.items()}

    def to_markdown(self, found: Record) -> str:
        """The verdict."""
        return "\n".join(f"- {finding.sentence}" for finding in study_of(found).verdict)


def smaller(png: bytes) -> bytes:
    """For a page: as wide as a screen shows it, and with as many colours as it needs."""
    image = Image.open(BytesIO(png)).convert("RGB")
    size = (WIDTH, round(image.height * WIDTH / image.width))
    file = BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).quantize(256).save(file, "png", optimize=True)
    return file.getvalue()


def study_of(found: Record) -> StudyRecord:
    """The study; of its runs only the finals, and none where no picture needs them."""
    return StudyRecord.from_json(restored(found["study"]))


def contestant(study: StudyRecord, name: str) -> Contestant:
    """By its name, or by what the name begins with: `adam` for `adam(lr=0.001)`."""
    (one,) = (one for one in study.contestants if one.name.partition("(")[0] == name)
    return one
