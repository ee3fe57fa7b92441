"""Losses of Adam on `words-embedding`, epoch by epoch. For docs/workloads.md.

The text is Python's standard library, so that the numbers are those of one version of Python.
"""

from __future__ import annotations

from dataclasses import replace

from adamantine import Adam
from adamantine.train import TrainConfig, seed_everything, train
from adamantine.workloads.protocol import Workload
from benchmarks import markdown
from benchmarks.records import Options, Record
from benchmarks.studies.pool import pool, workload

EPOCHS = 5


def run(options: Options) -> Record:
    """The same training twice: what it is tested on does not change it."""
    epochs = 1 if options.quick else EPOCHS
    with pool(options) as processes:
        parts = {name: processes.submit(losses, name, epochs) for name in ("validation", "test")}
        found = {name: part.result() for name, part in parts.items()}
        return {
            "training": found["test"][0],
            "validation": found["validation"][1],
            "test": found["test"][1],
            "unknown": processes.submit(unknown).result(),
        }


def losses(part: str, epochs: int) -> tuple[list[float], list[float]]:
    """Of each epoch the mean while it trained, and the loss on that part of the data after it."""
    data: Workload = workload("words-embedding")
    if part == "validation":
        data = replace(data, test=data.validation)
    seed_everything(0)
    model = data.model()
    optimizer = Adam(model.parameters(), sparse="lazy")
    record = train(data, model, optimizer, TrainConfig(epochs=epochs, seed=0))
    return [e.average_loss for e in record.epochs], [e.test_loss for e in record.epochs]


def unknown() -> dict[str, float]:
    """Of each part, the share of words to predict that are not among the known ones."""
    data = workload("words-embedding")
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    return {name: float((targets == 0).double().mean()) for name, (_, targets) in parts.items()}


def to_markdown(found: Record) -> str:
    """A row for each part of the data."""
    epochs = range(1, len(found["test"]) + 1)
    labels = {
        "training": "training (mean over the epoch)",
        "validation": "validation",
        "test": "test",
    }
    rows = [[label, *(f"{loss:.3f}" for loss in found[part])] for part, label in labels.items()]
    return markdown.table(("", *(f"epoch {epoch}" for epoch in epochs)), rows)
