"""What trackers hold, read by their own readers: {run id: {(quantity, step): values found}}."""

import csv
import json
import struct
from collections import defaultdict
from pathlib import Path

QUANTITIES = ("epoch", "seconds", "train_loss", "validation_loss", "validation_accuracy")


def looks_in_csv(folder):
    found = defaultdict(lambda: defaultdict(list))
    with (folder / "csv" / "looks.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["run"]][row["quantity"], int(row["step"])].append(float(row["value"]))
    return found


def rows_of_csv(folder, name):
    with (folder / "csv" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def accumulators(folder):
    """TensorBoard's readers of all runs, by the run's id."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    for place in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        reader = EventAccumulator(str(place), size_guidance={"scalars": 0})
        reader.Reload()
        hparams = reader.summary_metadata.get(metadata.SESSION_START_INFO_TAG)
        if hparams is not None:
            data = metadata.parse_session_start_info_plugin_data(hparams.plugin_data.content)
            yield data.group_name, reader, data


def looks_in_tensorboard(folder, quantities=QUANTITIES):
    found = defaultdict(lambda: defaultdict(list))
    for run, reader, _ in accumulators(folder / "tensorboard"):
        for tag in set(reader.Tags()["scalars"]) & set(quantities):
            for event in reader.Scalars(tag):
                found[run][tag, event.step].append(event.value)
    return found


def runs_in_mlflow(client):
    from adamantine.trackers.to_mlflow import IDENTITY

    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            yield run.data.tags[IDENTITY], run


def looks_in_mlflow(client, quantities=QUANTITIES):
    found = defaultdict(lambda: defaultdict(list))
    for identity, run in runs_in_mlflow(client):
        for name in set(run.data.metrics) & set(quantities):
            for metric in client.get_metric_history(run.info.run_id, name):
                found[identity][name, metric.step].append(metric.value)
    return found


def looks_in_wandb(folder, quantities=QUANTITIES):
    """Of all offline runs, which are what would be synced."""
    found = defaultdict(lambda: defaultdict(list))
    for path in Path(folder).glob("wandb/offline-run-*/run-*.wandb"):
        run = found[path.stem.removeprefix("run-")]
        for record in wandb_records(path.read_bytes()):
            if record.WhichOneof("record_type") == "history":
                for item in record.history.item:
                    name = item.key or "/".join(item.nested_key)
                    if name in quantities:
                        step = record.history.step.num
                        run[name, step].append(json.loads(item.value_json))
    return found


def wandb_records(data):
    """W&B's own reader is not Python's. The format is LevelDB's log, with messages of protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, message, block, head = 7, b"", 32768, struct.Struct("<IHB")
    while at + head.size <= len(data):
        rest = block - at % block
        if rest < head.size:  # too short for a head
            at += rest
            continue
        _, length, kind = head.unpack_from(data, at)
        at += head.size
        message += data[at : at + length]
        at += length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""
