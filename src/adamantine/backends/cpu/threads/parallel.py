"""Where a kernel runs: on the caller alone, on torch's threads, or on our own.

torch's threads (:mod:`.team`) are the quickest to come as long as they watch for work, which they
do after a backward pass. Where they sleep, cannot be called or are in use, :mod:`.pool` has its
own. Which it is changes no bit of what a kernel computes.
"""

from __future__ import annotations

import torch

from adamantine.backends.cpu.threads import pool, team
from adamantine.backends.cpu.threads.pieces import run_alone

SMALLEST = 65_536
"""Elements that are worth calling torch's threads, and..."""

PER_THREAD = 8_192
"""...elements for each of them, since all of them are called."""


def threads_for(elements: int, min_per_thread: int) -> int:
    """How many threads are worth their while.

    Parameters
    ----------
    elements
        That will be updated.
    min_per_thread
        Of these, what a thread of our own should get at least: below that, moving data to another
        core's cache costs what it saves.
    """
    if elements < SMALLEST:
        return 1
    threads = torch.get_num_threads()
    if threads > 1 and elements >= PER_THREAD * threads:
        if team.ready():
            return threads
        team.rest()
    return max(1, min(threads, elements // min_per_thread))


def wake(threads: int) -> None:
    """Work for that many threads is about to come: have them awake by then."""
    if threads > 1 and not team.ready():
        pool.wake(threads)


def run(kernel: int, arguments: int, pieces: int, threads: int, afterwards: int = 0) -> None:
    """Call ``void kernel(arguments, piece)``, at that address, for every piece.

    Then, where there is one, ``void afterwards(arguments)``, in the same call of compiled code: no
    handler of a signal (Ctrl-C) runs before it.

    Returns when all pieces are done, on at most `threads` threads.
    """
    if threads == 1 or pieces == 1:
        run_alone(kernel, arguments, pieces, afterwards)
        return
    # All of torch's or none: see `team`.
    is_for_team = threads == torch.get_num_threads() and team.ready()
    if not (is_for_team and team.run(kernel, arguments, pieces, threads, afterwards)):
        pool.run(kernel, arguments, pieces, threads, afterwards)
