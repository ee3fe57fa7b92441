"""A GPU for each worker of a machine that has several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"


def count(device: str) -> int:
    """How many GPUs `device` leaves to choose from: one where it names one, none for the CPU."""
    place = torch.device(device)
    if place.type == "cpu":
        return 0
    return torch.cuda.device_count() if place.type == "cuda" and place.index is None else 1


@contextmanager
def of_worker(place: int, device: str) -> Iterator[None]:
    """A block in which a process that is started sees one of several GPUs, the next for the next.

    It is the environment that says so: a process that sees all of them and takes one would have a
    context, and so some memory, on the first as well.
    """
    if count(device) < 2:
        yield
        return
    before = os.environ.get(VISIBLE)
    names = [name for name in (before or "").split(",") if name] or [
        *map(str, range(count(device)))
    ]
    os.environ[VISIBLE] = names[place % len(names)]
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
