"""Who waits for a compilation at a terminal is told why."""

from __future__ import annotations

import io
import time
from contextlib import nullcontext

import pytest
from numba.core.compiler_lock import global_compiler_lock

from adamantine.backends import compiling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "compiles", "said"),
    [(Terminal(), True, 1), (Terminal(), False, 0), (io.StringIO(), True, 0)],
    ids=["compiling", "a long step", "no terminal"],
)
def test_it_is_said_once_and_only_at_a_terminal(
    stream: io.StringIO, compiles: bool, said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "PATIENCE", 0.01)
    monkeypatch.setattr(compiling, "_LOOKS", 0.01)
    monkeypatch.setattr(compiling, "_told", False)
    monkeypatch.setattr(compiling.sys, "stderr", stream)
    for _ in range(2):
        with compiling.compiling_is_told(), global_compiler_lock if compiles else nullcontext():
            end = time.monotonic() + (5 if said else 0.1)
            while stream.getvalue().count("\n") < said and time.monotonic() < end:
                time.sleep(0.01)
    assert stream.getvalue() == (compiling.TEXT + "\n") * said
