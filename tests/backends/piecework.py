"""Kernels that say which of their pieces were done, and by how many at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numba import carray, cfunc, types
from numpy.typing import NDArray

from adamantine import Adam
from adamantine.backends.cpu.compiling.memory import int64_pointer
from adamantine.backends.cpu.compiling.native import fetch_add, load

SIGNATURE = types.void(types.int64, types.int64)
LOOKS = 200_000_000


@cfunc(SIGNATURE)
def count(arguments, piece):  # type: ignore[no-untyped-def]
    fetch_add(arguments + 8 * piece, 1)


@cfunc(SIGNATURE)
def meet(arguments, piece):  # type: ignore[no-untyped-def]
    """Wait for somebody else to be in another piece, and say so."""
    fetch_add(arguments, 1)
    for _ in range(LOOKS):
        if load(arguments) >= 2:
            carray(int64_pointer(arguments), 2)[1] = 1
            break


@cfunc(SIGNATURE)
def crowd(arguments, piece):  # type: ignore[no-untyped-def]
    """Write down how many are at work at this moment."""
    here = fetch_add(arguments, 1) + 1
    for _ in range(20_000):
        here = max(here, load(arguments))
    carray(int64_pointer(arguments), piece + 3)[piece + 2] = here
    fetch_add(arguments, -1)


@cfunc(types.void(types.int64))
def double_the_first(arguments):  # type: ignore[no-untyped-def]
    """What comes afterwards."""
    words = carray(int64_pointer(arguments), 1)
    words[0] *= 2


def address(kernel: object) -> int:
    """Where it lies."""
    return int(kernel.address)  # type: ignore[attr-defined]


def done(pieces: int, of: int) -> NDArray[np.int64]:
    """What `count` leaves of that many words."""
    return np.where(np.arange(of) < pieces, 1, 0)


def trained(threads: int, elements: int = 700_001) -> torch.Tensor:
    """A parameter after some steps on that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        param = torch.nn.Parameter(torch.linspace(-1, 1, elements))
        optimizer = Adam([param])
        for step in range(5):
            param.grad = torch.sin(param.detach() * (step + 1))
            optimizer.step()
        return param.detach()
    finally:
        torch.set_num_threads(before)


def in_a_child(work: Callable[[], bool]) -> int:
    """Fork, work there, and return the exit code; a child that hangs is killed."""
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hung")
