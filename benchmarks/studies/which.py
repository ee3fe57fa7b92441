"""Which optimizer to use: Adam and what rivals it today, on four tasks. For docs/which.md.

Equal budgets, one tuning seed, five fresh seeds; `adamantine compare` decides and says why.
"""

from __future__ import annotations

from adamantine.records import Contestant, StudyRecord
from adamantine.report import study_rows
from benchmarks import markdown
from benchmarks.studies.comparison import Comparison

CONTESTANTS = (
    "adamw momentum lion ademamix adamwschedulefree muon soap prodigy lamb "
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


def report(study: StudyRecord) -> str:
    """The decision, a table with the best first, and the verdict as the tool prints it."""
    first, *evidence = [finding.sentence for finding in study.verdict]
    decision = "\n".join(filter(None, (first, study.decision.python)))
    return "\n\n".join(
        [f"```\n{decision}\n```", table(study), "\n".join(f"- {each}" for each in evidence)]
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
