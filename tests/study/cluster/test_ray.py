"""Studies on a Ray cluster of two nodes: the same bits as with processes of our own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

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

    def __init__(self, folder, own_folder):
        self.folder, self.port, self.client_port = folder, free_port(), free_port()
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(STUDY), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": own_folder,  # else a later ray.init() looks for this cluster
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

    def record(self, name):
        """What a command left, but for what differs each time."""
        return without(json.loads((self.folder / name).read_text()), *OTHER)

    def adamantine(self, *arguments):
        command = [sys.executable, "-m", "adamantine", *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.env, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # Its sockets have to have short names.
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own_folder:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), own_folder)
        try:
            cluster.wait_for(2)
            yield cluster
        finally:
            for number, node in enumerate(cluster.nodes):
                if node.poll() is None:
                    cluster.kill(number)


@pytest.fixture(scope="module")
def expected(cluster):
    """The comparison, by processes."""
    ended(cluster.adamantine(*COMPARE, "--jobs", 2, "--out", "here"))
    return cluster.record("here/study.json")


def ended(process):
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said


@pytest.mark.slow
def test_a_comparison_is_that_of_processes(cluster, expected):
    ended(cluster.adamantine(*COMPARE, "--cluster", "ray", "--out", "there"))
    assert cluster.record("there/study.json") == expected


@pytest.mark.slow
def test_a_comparison_from_outside(cluster, expected):
    address = f"ray://127.0.0.1:{cluster.client_port}"
    ended(cluster.adamantine(*COMPARE, "--cluster", address, "--out", "outside"))
    assert cluster.record("outside/study.json") == expected


SEARCH = ["tune", "sgd", "--workload", "cheap:workload", "--sampler", "random"]
SEARCH += ["--trials", 6, "--epochs", 3, "--seeds", 2, "--looks", 2]


@pytest.mark.slow
def test_a_search_is_that_of_processes(cluster):
    ended(cluster.adamantine(*SEARCH, "--no-pruning", "--jobs", 2, "--out", "found"))
    there = ["--cluster", "ray", "--out", "found-there"]
    ended(cluster.adamantine(*SEARCH, "--no-pruning", *there))
    assert cluster.record("found-there/tune.json") == cluster.record("found/tune.json")


@pytest.mark.slow
def test_a_search_stops_trials_that_are_elsewhere(cluster):
    ended(cluster.adamantine(*SEARCH, "--cluster", "ray", "--out", "pruned"))
    trials = cluster.record("pruned/tune.json")["trials"]
    assert any(trial["run"]["pruned"] for trial in trials)


@pytest.mark.slow
def test_a_learning_rate_is_that_of_one_process(cluster):
    find = ["lr-find", "--workload", "digits", "--threads", 1, "--seeds", 2, "--steps", 20]
    ended(cluster.adamantine(*find, "--out", "rate"))
    ended(cluster.adamantine(*find, "--cluster", "ray", "--out", "rate-there"))
    assert cluster.record("rate-there/lr_find.json") == cluster.record("rate/lr_find.json")


@pytest.mark.slow
def test_a_node_that_dies_costs_the_runs_that_it_was_at(cluster, expected):
    """The last test, for nobody starts the node again."""
    journal = cluster.folder / "killed" / "runs.jsonl"
    process = cluster.adamantine(*COMPARE, "--cluster", "ray", "--out", "killed")
    while process.poll() is None and runs_in(journal) < 5:
        time.sleep(0.01)
    assert process.poll() is None
    cluster.kill(1)
    ended(process)
    assert cluster.record("killed/study.json") == expected
    assert runs_in(journal) == len(expected["runs"])  # each once


def runs_in(journal):
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
