"""How busy other programs kept the machine meanwhile.

They do not slow all contenders alike: threads of one program wait for each other, and one that
has lost its core holds up the rest. On two cores, beside one or two busy programs, the tutorial's
program took four to nine times as long as alone, and ours a quarter more.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

STAT = Path("/proc/stat")
NOTICEABLE = 0.1
"""Cores; above this, figures are not worth keeping."""


class OtherWork:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._start = _read()

    def cores(self) -> float | None:
        """Cores that other programs kept busy on average; None where the system does not say."""
        start, now = self._start, _read()
        if start is None or now is None:
            return None
        seconds, busy, own = (after - before for before, after in zip(start, now, strict=True))
        return round(max(0.0, busy - own) / seconds, 2)


def _read() -> tuple[float, float, float] | None:
    """Time, and CPU seconds so far: of the whole machine, and of us and our finished children."""
    if not STAT.exists():
        return None
    # Linux, proc(5): user, nice, system, idle, iowait, irq, softirq, in ticks.
    ticks = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1:8]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    return perf_counter(), busy / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])
