"""Kernels on torch's threads: every piece once, no deadlock, no call that cannot return."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cfunc, types

from adamantine.backends.cpu.compiling.native import call1
from adamantine.backends.cpu.threads import parallel, pool, team
from backends.piecework import (
    address,
    count,
    crowd,
    done,
    double_the_first,
    in_a_child,
    meet,
    trained,
)

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and torch.backends.openmp.is_available()),
    reason="torch has no OpenMP whose threads can be called",
)


@pytest.fixture(autouse=True)
def rested(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with a team that may be called, and leaves none that may not."""
    before = torch.get_num_threads()
    monkeypatch.setattr(team, "_team", None)
    assert team.ready()
    yield
    torch.set_num_threads(before)


def run(
    kernel: object, arguments: np.ndarray, pieces: int, threads: int, afterwards: int = 0
) -> None:
    """On torch's threads and nobody else's."""
    torch.set_num_threads(threads)
    assert team.run(address(kernel), arguments.ctypes.data, pieces, threads, afterwards)


@settings(deadline=None)
@given(pieces=st.integers(0, 40), threads=st.integers(1, 5))
def test_every_piece_is_done_once(pieces: int, threads: int) -> None:
    arguments = np.zeros(41, np.int64)
    run(count, arguments, pieces, threads)
    assert arguments.tolist() == done(pieces, 41).tolist()


def test_what_comes_afterwards_comes_once() -> None:
    arguments = np.zeros(9, np.int64)
    run(count, arguments, 9, 2, address(double_the_first))
    assert arguments.tolist() == [2, *[1] * 8]


def test_the_caller_works_and_another_thread_too() -> None:
    arguments = np.zeros(2, np.int64)
    run(meet, arguments, 2, 2)
    assert arguments[1]


def test_no_more_are_at_work_than_torch_would_have() -> None:
    for threads in (4, 2):
        arguments = np.zeros(2 + 200, np.int64)
        run(crowd, arguments, 200, threads)
        assert arguments[2:].max() <= threads


def test_one_run_at_a_time_and_the_others_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    elsewhere = []
    real = pool.run

    def noted(*arguments: int) -> None:
        elsewhere.append(arguments)
        real(*arguments)

    monkeypatch.setattr(pool, "run", noted)
    assert team._team is not None
    with team._team._busy:
        arguments = np.zeros(9, np.int64)
        assert not team.run(address(count), arguments.ctypes.data, 9, 2)
        assert not arguments.any()
        parallel.run(address(count), arguments.ctypes.data, 9, 2)
    assert arguments.tolist() == [1] * 9
    assert len(elsewhere) == 1


def test_several_threads_may_use_it_at_once() -> None:
    def use(_: int) -> list[int]:
        torch.set_num_threads(2)  # it is each thread's own
        arguments = np.zeros(50, np.int64)
        for _ in range(20):
            parallel.run(address(count), arguments.ctypes.data, 50, 2)
        return arguments.tolist()

    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(use, range(40))) == [[20] * 50] * 40


@cfunc(types.void(types.int64, types.int64, types.int64, types.int64))
def nobody_comes(take_part, queue, threads, flags):  # type: ignore[no-untyped-def]
    """``GOMP_parallel`` with threads that are too late: the caller has done all."""
    call1(take_part, queue)


def test_threads_that_come_too_late_are_left_alone_for_a_while() -> None:
    torch.set_num_threads(2)
    assert team._team is not None
    team._team._parallel = address(nobody_comes)
    few = np.zeros(2, np.int64)
    parallel.run(address(count), few.ctypes.data, 2, 2)
    assert team.ready()  # of two pieces, the caller may have been quick to do both
    arguments = np.zeros(9, np.int64)
    parallel.run(address(count), arguments.ctypes.data, 9, 2)
    for _ in range(team.REST):
        assert not team.ready()
        parallel.run(address(count), arguments.ctypes.data, 9, 2)
        assert parallel.threads_for(parallel.SMALLEST, 10**6) == 1
    assert team.ready()
    assert arguments.tolist() == [1 + team.REST] * 9


def test_work_is_given_to_all_of_torchs_threads_or_to_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A smaller team would end threads that torch's next operation starts again."""
    teams = []
    monkeypatch.setattr(team, "run", lambda *arguments: bool(teams.append(arguments)))
    torch.set_num_threads(4)
    for threads in (1, 2, 4):
        arguments = np.zeros(20, np.int64)
        parallel.run(address(count), arguments.ctypes.data, 20, threads)
        assert arguments.tolist() == [1] * 20
    assert [arguments[3] for arguments in teams] == [4]


def test_how_many_threads_are_worth_their_while(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    share = 131_072
    for elements, threads in (
        (0, 1), (parallel.SMALLEST - 1, 1), (parallel.SMALLEST, 4), (10**7, 4),
    ):  # fmt: skip
        assert parallel.threads_for(elements, share) == threads
    torch.set_num_threads(16)
    assert parallel.threads_for(parallel.PER_THREAD * 16 - 1, share) == 1
    assert parallel.threads_for(parallel.PER_THREAD * 16, share) == 16
    monkeypatch.setattr(team, "ready", lambda: False)
    assert parallel.threads_for(3 * share, share) == 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_it_alone() -> None:
    """In there the call would wait for threads that only the parent has."""
    run(count, np.zeros(8, np.int64), 8, 2)

    def work() -> bool:
        arguments = np.zeros(30, np.int64)
        parallel.run(address(count), arguments.ctypes.data, 30, 2)
        return arguments.tolist() == [1] * 30 and not team.ready()

    assert in_a_child(work) == 0


@pytest.mark.parametrize("elements", [101_770, 1_100_001])
def test_torchs_threads_give_the_same_bits_as_one(elements: int) -> None:
    alone = trained(1, elements)
    assert torch.equal(alone, trained(2, elements))
    assert torch.equal(alone, trained(5, elements))


SCRIPT = """
import torch, adamantine
from adamantine.backends.cpu.threads import team
torch.set_num_threads(2)
param = torch.nn.Parameter(torch.ones(400_000))
for _ in range(40):
    param.grad = torch.ones(400_000)
    adamantine.Adam([param]).step()
names = {line.split()[-1].rpartition("/")[2] for line in open("/proc/self/maps")}
print(sum(name.startswith(("libgomp", "libomp", "libiomp")) for name in names))
assert team._openmp() is not None
"""


@pytest.mark.parametrize("policy", ["ACTIVE", "PASSIVE"])
def test_no_second_openmp_is_loaded_and_the_process_ends(policy: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "OMP_WAIT_POLICY": policy},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "1\n"
