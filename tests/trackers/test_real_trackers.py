"""MLflow with its SQLite store, W&B offline, and a study that is killed while all are told."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reading import (
    QUANTITIES,
    accumulators,
    looks_in_csv,
    looks_in_mlflow,
    looks_in_tensorboard,
    looks_in_wandb,
    rows_of_csv,
    runs_in_mlflow,
)

from adamantine.records import MEASURED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's, of SQLAlchemy
]
STATS = [
    f"stats/{parameter}/{name}"
    for parameter in ("weight", "bias")
    for name in (*MEASURED, *(f"learning_rate_{index}" for index in range(5)))
]
STUDY = Path(__file__).parents[1] / "study"
OPTIONS = ["adam", "sgd", "--workload", "cheap:slow", "--epochs", "2", "--looks", "2"]
OPTIONS += ["--seeds", "3", "--budget", "2", "--tuning-seeds", "2", "--jobs", "2"]


@pytest.fixture
def place(tmp_path):
    """A folder, and how processes in it are started."""
    paths = os.pathsep.join([str(STUDY), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {
        **os.environ,
        "PYTHONPATH": paths,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "WANDB_MODE": "offline",
    }

    def start(*arguments):
        command = [sys.executable, "-m", "adamantine", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return tmp_path, start


def ended(process):
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said


def mlflow_client(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_study_holds_every_look_once_in_each_tracker(place):
    folder, start = place
    out = folder / "out"
    log = ["--log", "tensorboard", "--log", "mlflow", "--log", "csv"]
    told = out / "csv" / "results.csv"
    for kill in range(3):
        process = start("compare", *OPTIONS, "--out", out, *log)
        before = lines(told)
        # In the middle of telling of one run to three trackers: the last one is told what others
        # hold already.
        while lines(told) <= before + 12 * kill and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.communicate()
    ended(start("compare", *OPTIONS, "--out", out, *log))
    study = json.loads((out / "study.json").read_text())
    expected = sorted(
        [look["step"], look["validation_loss"], look["seconds"]]
        for run in study["runs"]
        for look in run["looks"]
    )
    client = mlflow_client(folder)
    assert study["plan"]["contestants"] == ["adam", "sgd"]  # ours, which tell of their steps
    quantities = (*QUANTITIES, *STATS)
    for found, exact in (
        (looks_in_csv(out), True),
        (looks_in_mlflow(client, quantities), True),
        (looks_in_tensorboard(out, quantities), False),  # float32
    ):
        assert len(found) == len(study["runs"])
        for run in found.values():
            steps = {step for _, step in run}
            assert run.keys() == {(name, step) for name in quantities for step in steps}
            assert all(len(values) == 1 for values in run.values())
        looks = sorted(
            [step, run["validation_loss", step][0], run["seconds", step][0]]
            for run in found.values()
            for name, step in run
            if name == "epoch"
        )
        assert looks == (expected if exact else [pytest.approx(e, rel=1e-6) for e in expected])
    runs = dict(runs_in_mlflow(client))
    [parent] = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs.values() if run is not parent]
    assert len(children) == len(study["runs"])
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    verdict = " ".join(finding["sentence"] for finding in study["verdict"])
    assert parent.data.tags["mlflow.note.content"] == verdict
    assert {run.data.params["contestant"] for run in children} == {"adam", "sgd"}
    assert verdict in [row["value"] for row in rows_of_csv(out, "results")]
    hparams = [data.hparams for _, _, data in accumulators(out)]
    assert len(hparams) == len(children)
    assert {each["contestant"].string_value for each in hparams} == {"adam", "sgd"}


def test_a_killed_training_holds_every_epoch_once(place):
    folder, start = place
    options = ["--workload", "digits", "--epochs", "6", "--stats", "--out", folder / "out"]
    options += ["--log", "mlflow", "--log", "wandb", "--resume"]
    metrics = folder / "out" / "metrics.jsonl"
    for epochs in (2,):
        process = start("train", *options)
        while lines(metrics) < epochs and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    ended(start("train", *options))
    epochs = [json.loads(line) for line in metrics.read_text().splitlines()]
    [(_, run)] = runs_in_mlflow(mlflow_client(folder))
    [found] = looks_in_mlflow(mlflow_client(folder), list(run.data.metrics)).values()
    assert all(len(values) == 1 for values in found.values())
    for epoch in epochs:
        assert found["test_accuracy", epoch["epoch"]] == [epoch["test_accuracy"]]
        for name, parameter in epoch["parameters"].items():
            key = f"stats/{name}/update_ratio"
            assert found[key, epoch["epoch"]] == [parameter["update_ratio"]]
    [found] = looks_in_wandb(folder / "out", ["test_loss", "test_accuracy"]).values()
    assert found == {
        (name, epoch["epoch"]): [epoch[name]]
        for epoch in epochs
        for name in ("test_loss", "test_accuracy")
    }


def test_wandb_has_a_run_for_each_of_a_study(place):
    folder, start = place
    out = folder / "out"
    search = ["tune", "sgd", "--workload", "cheap:workload", "--trials", "3", "--epochs", "1"]
    search += ["--seeds", "2", "--out", out, "--log", "wandb"]
    process = start(*search)
    while len(list(out.glob("wandb/offline-run-*"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    ended(start(*search))
    record = json.loads((out / "tune.json").read_text())
    runs = [*(trial["run"] for trial in record["trials"]), *record["runs"]]
    found = looks_in_wandb(out)
    del found[next(run for run in found if not found[run])]  # the study itself
    assert sorted(
        run["validation_loss", step][0] for run in found.values() for name, step in run
        if name == "validation_loss"
    ) == sorted(look["validation_loss"] for run in runs for look in run["looks"])  # fmt: skip
    assert len(found) == len(runs)
    assert all(len(values) == 1 for run in found.values() for values in run.values())
