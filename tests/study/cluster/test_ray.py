"""Studies on a Ray cluster of two nodes: the same bits as with processes of our own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from untimed import without

from adamantine.cli import run as command_line
from adamantine.errors import AdamantineError, UsageError
from adamantine.study import Plan, compare
from adamantine.study.lr_find.lr_find import find_learning_rate
from adamantine.study.runs.ray_workers import _check_alike
from adamantine.workloads import load

STUDY = Path(__file__).parents[1]
COMPARE = ["compare", "adam", "sgd", "--workload", "cheap:slow", "--epochs", "2", "--looks", "2"]
COMPARE += ["--seeds", "3", "--budget", "3", "--tuning-seeds", "2"]
OTHER = ("command", "started", "machine", "storage")


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("compare", ["--cluster", "slurm"], "cluster is 'slurm', expected ray or ray://HOST:PORT"),
        ("tune", ["--cluster", "ray:10001"], "expected ray or ray://HOST:PORT"),
        ("lr-find", ["--cluster", "dask"], "expected ray or ray://HOST:PORT"),
    ],
)
def test_what_is_no_cluster_is_said_at_once(command, options, said, capsys, tmp_path):
    assert command_line([command, "--out", str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


def test_without_ray_there_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert command_line(["compare", "--cluster", "ray", "--out", str(tmp_path)]) == 2
    expected = "adamantine: --cluster ray needs the package ray: pip install 'adamantine[ray]'\n"
    assert capsys.readouterr().err == expected


def test_objects_do_not_go_to_a_cluster():
    digits = load("digits")
    with pytest.raises(UsageError, match="cluster needs a workload that other processes can load"):
        compare(digits, Plan(("adam",)), cluster="ray")
    with pytest.raises(UsageError, match="cluster needs a workload and an optimizer"):
        find_learning_rate(digits, cluster="ray")


def test_another_version_or_other_data_on_a_node_is_an_error():
    here = {"version of torch": "2.13.0", "sum over model and data": "0f"}
    _check_alike(here, dict(here))
    with pytest.raises(AdamantineError, match=r"the version of torch is 2\.12\.0, and 2\.13\.0"):
        _check_alike(here, {**here, "version of torch": "2.12.0"})


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Cluster:
    """Two nodes on this machine, each with one processor."""

    def __init__(self, folder):
        self.folder, self.port, self.client_port = folder, free_port(), free_port()
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(STUDY), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray leaves one in the home folder
            "RAY_health_check_failure_threshold": "2",
            "RAY_health_check_period_ms": "1000",
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
        }
        self.nodes = []
        self.start(
            "--head",
            "--include-dashboard=false",
            f"--port={self.port}",
            f"--ray-client-server-port={self.client_port}",
        )
        self.start(f"--address=127.0.0.1:{self.port}")

    def start(self, *options):
        env = {key: value for key, value in self.env.items() if key != "RAY_ADDRESS"}
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        command += ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000"]
        with (self.folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            self.nodes.append(
                subprocess.Popen(
                    command,
                    env=env,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def wait_for(self, count):
        """Until so many nodes are alive."""
        script = (
            "import ray; ray.init(log_to_driver=False); print(int(ray.cluster_resources()['CPU']))"
        )
        for _ in range(60):
            done = subprocess.run(
                [sys.executable, "-c", script], env=self.env, capture_output=True, text=True
            )
            if done.stdout.strip() == str(count):
                return
            time.sleep(0.5)
        raise AssertionError(done.stderr)

    def kill(self, node):
        """With everything that it does."""
        os.killpg(self.nodes[node].pid, signal.SIGKILL)
        self.nodes[node].wait()

    def adamantine(self, *arguments):
        command = [sys.executable, "-m", "adamantine", *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.env, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )


@contextmanager
def cluster_in(folder):
    cluster = Cluster(folder)
    try:
        cluster.wait_for(2)
        yield cluster
    finally:
        for number, node in enumerate(cluster.nodes):
            if node.poll() is None:
                cluster.kill(number)


def ended(process):
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said


def record(path):
    return without(json.loads(path.read_text()), *OTHER)


@pytest.mark.slow
def test_two_nodes_give_the_bits_of_processes(tmp_path):
    with cluster_in(tmp_path) as cluster:
        there = ["--cluster", "ray"]
        ended(cluster.adamantine(*COMPARE, "--jobs", 2, "--out", "here"))
        ended(cluster.adamantine(*COMPARE, *there, "--out", "there"))
        expected = record(tmp_path / "here" / "study.json")
        assert record(tmp_path / "there" / "study.json") == expected

        search = ["tune", "sgd", "--workload", "cheap:workload", "--sampler", "random"]
        search += ["--trials", 6, "--epochs", 3, "--seeds", 2, "--looks", 2]
        ended(cluster.adamantine(*search, "--no-pruning", "--jobs", 2, "--out", "found"))
        ended(cluster.adamantine(*search, "--no-pruning", *there, "--out", "found-there"))
        assert record(tmp_path / "found-there" / "tune.json") == record(
            tmp_path / "found" / "tune.json"
        )
        ended(cluster.adamantine(*search, *there, "--out", "pruned"))
        trials = json.loads((tmp_path / "pruned" / "tune.json").read_text())["trials"]
        assert any(trial["run"]["pruned"] for trial in trials)

        find = ["lr-find", "--workload", "cheap:workload", "--threads", 1, "--seeds", 3]
        ended(cluster.adamantine(*find, "--out", "rate"))
        ended(cluster.adamantine(*find, *there, "--out", "rate-there"))
        assert record(tmp_path / "rate-there" / "lr_find.json") == record(
            tmp_path / "rate" / "lr_find.json"
        )

        client = ["--cluster", f"ray://127.0.0.1:{cluster.client_port}"]
        ended(cluster.adamantine(*COMPARE, *client, "--out", "client"))
        assert record(tmp_path / "client" / "study.json") == expected

        node_dies(cluster, expected)


def node_dies(cluster, expected):
    """In the middle of a study, in which it is at a run."""
    journal = cluster.folder / "killed" / "runs.jsonl"
    process = cluster.adamantine(*COMPARE, "--cluster", "ray", "--out", "killed")
    while process.poll() is None and not (
        journal.exists() and journal.read_bytes().count(b"\n") > 4
    ):
        time.sleep(0.01)
    assert process.poll() is None
    cluster.kill(1)
    ended(process)
    assert record(cluster.folder / "killed" / "study.json") == expected
    runs = journal.read_bytes().count(b"\n")
    assert runs == len(expected["runs"])  # each once
