"""Large pages are asked for under large states, and under nothing else."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from adamantine import Adam
from adamantine.backends import huge_pages

SMAPS = Path("/proc/self/smaps")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not SMAPS.exists() or huge_pages._madvise() is None,
    reason="no large pages to ask for, or no way to see that it was done",
)


def advised(address: int) -> bool:
    """Whether the kernel has noted the wish (the flag ``hg``) for the memory at `address`."""
    inside = False
    for line in SMAPS.read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(mapping[1], 16) <= address < int(mapping[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError("address not mapped")


def test_states_that_are_large_and_only_those() -> None:
    large, small = (torch.nn.Parameter(torch.ones(n)) for n in (4 * 2**20, 1000))
    for param in (large, small):
        param.grad = torch.ones_like(param)
    optimizer = Adam([large, small], lr=0.5)
    optimizer.step()
    assert torch.equal(large.detach(), torch.full_like(large, 0.5))
    for name in ("exp_avg", "exp_avg_sq"):
        state = optimizer.state[large][name]
        assert advised(state.data_ptr() + state.nbytes // 2)
        assert not advised(optimizer.state[small][name].data_ptr())
    assert not advised(large.data_ptr() + large.nbytes // 2)


def test_no_page_outside_of_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        huge_pages,
        "_madvise",
        lambda: lambda start, size, _: asked.append((start.value, size.value)),
    )
    memory = torch.zeros(4 * 2**20)
    part = memory[1:-1]
    huge_pages.ask_for_large_pages(part)
    ((start, size),) = asked
    assert part.data_ptr() <= start
    assert start + size <= part.data_ptr() + part.nbytes
    assert start % 4096 == size % 4096 == 0
