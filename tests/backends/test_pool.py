"""The thread pool: every piece once, no deadlock between threads, after forks or at the exit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adamantine.backends.cpu.threads import pool, team
from backends.piecework import address, count, crowd, in_a_child, meet, trained


def run(kernel: object, arguments: NDArray[np.int64], pieces: int, threads: int) -> None:
    pool.wake(threads)
    pool.run(address(kernel), arguments.ctypes.data, pieces, threads)


@settings(deadline=None)
@given(pieces=st.integers(0, 40), threads=st.integers(1, 5))
def test_every_piece_is_done_once(pieces: int, threads: int) -> None:
    arguments = np.zeros(41, np.int64)
    run(count, arguments, pieces, threads)
    assert arguments.tolist() == [1] * pieces + [0] * (41 - pieces)


def test_the_caller_works_and_a_helper_too() -> None:
    arguments = np.zeros(2, np.int64)
    for _ in range(10):  # a helper that has no core may come too late for two pieces
        arguments[:] = 0
        run(meet, arguments, 2, 2)
        if arguments[1]:
            return
    pytest.fail("two pieces were never done at the same time")


def test_helpers_that_sleep_are_woken() -> None:
    run(count, np.zeros(8, np.int64), 8, 3)
    time.sleep(0.05)  # long past their patience
    test_the_caller_works_and_a_helper_too()


def test_several_threads_may_use_it_at_once() -> None:
    def use(_: int) -> list[int]:
        arguments = np.zeros(50, np.int64)
        for _ in range(20):
            run(count, arguments, 50, 3)
        return arguments.tolist()

    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(use, range(40))) == [[20] * 50] * 40


def helpers() -> int:
    return sum(thread.name == "adamantine" for thread in threading.enumerate())


def test_fewer_threads_than_before_leave_helpers_out() -> None:
    run(count, np.zeros(8, np.int64), 8, 5)
    assert helpers() >= 4
    arguments = np.zeros(2 + 200, np.int64)
    run(crowd, arguments, 200, 2)
    assert arguments[2:].max() <= 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    run(count, np.zeros(8, np.int64), 8, 3)

    def work() -> bool:
        arguments = np.zeros(30, np.int64)
        run(count, arguments, 30, 3)
        return arguments.tolist() == [1] * 30 and helpers() == 2

    assert in_a_child(work) == 0


SCRIPT = """
import torch, adamantine
torch.set_num_threads(2)
param = torch.nn.Parameter(torch.ones(400_000))
param.grad = torch.ones(400_000)
adamantine.Adam([param]).step()
"""


@pytest.mark.parametrize(
    "attempt", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in range(1, 5))]
)
def test_a_process_ends_while_helpers_are_awake(attempt: int) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_pool_gives_the_same_bits_as_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "ready", lambda: False)
    assert torch.equal(trained(1), trained(2))
    assert torch.equal(trained(1), trained(5))
    assert helpers() >= 4
