"""Who gets which GPU. There is none here: their number is made up, and read back in a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from adamantine.study.compare.plan import Plan
from adamantine.study.runs import gpus
from adamantine.study.runs.conditions import default_jobs


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)


def seen_by(place: int, device: str) -> str:
    with gpus.of_worker(place, device):
        script = f"import os; print(os.environ.get({gpus.VISIBLE!r}))"
        return subprocess.check_output([sys.executable, "-c", script], text=True).strip()


@pytest.mark.usefixtures("four")
def test_each_worker_sees_one_in_turn() -> None:
    assert [seen_by(place, "cuda") for place in (0, 1, 3, 4)] == ["0", "1", "3", "0"]
    assert gpus.VISIBLE not in os.environ


@pytest.mark.usefixtures("four")
def test_those_that_were_chosen_are_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "2,GPU-8a")
    assert [seen_by(place, "cuda") for place in (0, 1, 2)] == ["2", "GPU-8a", "2"]
    assert os.environ[gpus.VISIBLE] == "2,GPU-8a"


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_the_cpu_and_a_gpu_by_number_change_nothing(device: str) -> None:
    assert seen_by(1, device) == "None"


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("device", "jobs"), [("cuda", 4), ("cuda:2", 1)])
def test_a_process_for_each_gpu_by_default(device: str, jobs: int) -> None:
    assert default_jobs(Plan(("adam", "sgd"), device=device)) == jobs
