"""Which optimizer to use: Adam and what rivals it today, on four tasks. For docs/which.md.

Equal budgets, one tuning seed, five fresh seeds; `adamantine compare` decides and says why.
"""

from __future__ import annotations

import textwrap

from adamantine.records import Contestant, StudyRecord
from adamantine.report import study_rows
from benchmarks import markdown
from benchmarks.records import Record
from benchmarks.studies.comparison import Comparison, study_of

UNBROKEN = {"break_long_words": False, "break_on_hyphens": False}

CONTESTANTS = (
    "adamw momentum lion ademamix adamwschedulefree muon soap:max_precond_dim=512 prodigy lamb "
    "--budget 6 --tuning-seeds 1 --seeds 5"
)
TASKS = {
    "which-images": ("mnist-cnn", 1, True),
    "which-characters": ("chars-transformer", 1, False),
    "which-words": ("words-dense", 1, False),
    "which-finetune": ("mnist-finetune", 3, True),
}
"""By the study's name: the workload, epochs, whether it reads MNIST."""

STUDIES = {
    name: Comparison(
        f"{CONTESTANTS} --workload {workload} --epochs {epochs}",
        name,
        {"overview.png": f"{name}.png"},
        reads_mnist,
    )
    for name, (workload, epochs, reads_mnist) in TASKS.items()
}


def report(found: Record) -> str:
    """The command, its decision, a table with the best first, and the rest of the verdict."""
    study = study_of(found)
    first, *evidence = [finding.sentence for finding in study.verdict]
    command = textwrap.wrap(f"adamantine compare {found['arguments']}", 84, **UNBROKEN)
    return "\n\n".join(
        [
            "\n".join(["```sh", " \\\n    ".join(command), "```"]),
            f"> {first}",
            *([f"`{study.decision.python}`"] if study.decision.python else []),
            table(study),
            "\n".join(f"- {each}" for each in evidence),
        ]
    )


def table(study: StudyRecord) -> str:
    """A row for each contestant, the best final score first."""
    rows = {row["contestant"]: row for row in study_rows(study)}
    score = f"test {study.metric}"
    columns = ("settings", score, "time to target", "time/step", "state")
    return markdown.table(
        ("contestant", "chosen", *columns[1:]),
        [[one.name, *(rows[one.name][each] for each in columns)] for one in ranked(study)],
        names=2,
    )


def ranked(study: StudyRecord) -> list[Contestant]:
    """Contestants by their mean score on the test set; those without one come last."""
    sign = -1.0 if study.direction == "max" else 1.0

    def key(one: Contestant) -> tuple[bool, float]:
        return one.metric is None, 0.0 if one.metric is None else sign * one.metric.value

    return sorted(study.contestants, key=key)
