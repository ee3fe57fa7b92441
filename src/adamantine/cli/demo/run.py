"""What ``adamantine demo`` does: Adam against SGD on data that needs no download."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from adamantine import workloads
from adamantine.cli.options.machine import use_threads
from adamantine.cli.output.files import make_folder
from adamantine.optim.by_name import build
from adamantine.records import RunRecord
from adamantine.report import comparison_png, format_metric
from adamantine.train import TrainConfig, seed_everything, train
from adamantine.train.files import write_atomically, write_text

CONFIG = TrainConfig(epochs=20, batch_size=32)
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "Adam": ("adam", {"lr": 1e-3}),
    "SGD": ("sgd", {"lr": 1e-2}),
}
SHOWN_EPOCHS = (1, 5, 10, CONFIG.epochs)


def run_demo(out: Path, *, as_json: bool) -> None:
    """Train both, print what they reached side by side and leave a picture in `out`."""
    make_folder(out)
    records = {label: _train(*run) for label, run in RUNS.items()}
    picture, data = out / "demo.png", out / "demo.json"
    title = f"digits  ·  {CONFIG.epochs} epochs  ·  batch size {CONFIG.batch_size}  ·  seed 0"
    png = comparison_png(records, title)
    write_atomically(picture, lambda file: file.write(png))
    runs = {label: record.to_json() for label, record in records.items()}
    write_text(data, json.dumps(runs, indent=2, allow_nan=False) + "\n")
    if as_json:
        print(json.dumps({"picture": str(picture), "runs": runs}, allow_nan=False))
    else:
        Console().print(_table(records))
        print(f"Picture: {picture}\nRecords: {data}")


def _train(optimizer: str, settings: dict[str, Any]) -> RunRecord:
    use_threads(None, "digits")
    workload = workloads.load("digits")
    seed_everything(CONFIG.seed)
    model = workload.model()
    return train(workload, model, build(optimizer, model, settings), CONFIG)


def _table(records: dict[str, RunRecord]) -> Table:
    table = Table(title="8×8 digits: same network, order and seed")
    table.add_column("")
    for label in records:
        table.add_column(label, justify="right")
    runs = list(records.values())
    table.add_row("learning rate", *(f"{run.epochs[-1].lr:g}" for run in runs))
    for epoch in SHOWN_EPOCHS:
        results = [run.epochs[epoch - 1] for run in runs]
        table.add_row(
            f"test accuracy, epoch {epoch}",
            *(format_metric(result.metric, result.test_metric) for result in results),
        )
    table.add_row("average loss, last epoch", *(f"{r.epochs[-1].average_loss:.4f}" for r in runs))
    table.add_row("time of an epoch, median", *(f"{_epoch_seconds(run):.3f} s" for run in runs))
    return table


def _epoch_seconds(run: RunRecord) -> float:
    # Not the sum: the first epoch of a new installation compiles, once and for all.
    return median(epoch.train_seconds for epoch in run.epochs)
