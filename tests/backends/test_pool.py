"""The thread pool: every piece once, errors told, no deadlock when used from several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine.backends.cpu import pool


@given(count=st.integers(0, 40), threads=st.integers(2, 5))
def test_every_piece_is_done_once(count: int, threads: int) -> None:
    done: list[tuple[int, int]] = []
    pieces = [(i, i + 1) for i in range(count)]
    pool.run(lambda start, stop: done.append((start, stop)), pieces, threads)
    assert sorted(done) == pieces


def test_the_caller_works_too_and_so_do_others() -> None:
    meeting = threading.Barrier(2, timeout=10)
    names: set[str] = set()

    def work(_start: int, _stop: int) -> None:
        names.add(threading.current_thread().name)
        meeting.wait()  # passes only when two threads are here at once

    pool.run(work, [(0, 1), (1, 2)], threads=2)
    assert threading.current_thread().name in names
    assert len(names) == 2


@pytest.mark.parametrize("bad", [0, 7])
def test_an_error_in_a_piece_is_raised(bad: int) -> None:
    def work(start: int, _stop: int) -> None:
        if start == bad:
            raise ZeroDivisionError(f"piece {start}")

    with pytest.raises(ZeroDivisionError, match=f"piece {bad}"):
        pool.run(work, [(i, i + 1) for i in range(8)], threads=3)


def test_several_threads_may_use_it_at_once() -> None:
    def job(_: int) -> int:
        total: list[int] = []
        pool.run(lambda start, _stop: total.append(start), [(i, i + 1) for i in range(50)], 2)
        return sum(total)

    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(job, range(40))) == [sum(range(50))] * 40
