"""Processes of one thread each, so that a study's numbers do not depend on how many there are."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import torch

from adamantine.workloads import load
from adamantine.workloads.protocol import Workload
from benchmarks.records import Options


def pool(options: Options) -> ProcessPoolExecutor:
    """As many as were asked for."""
    jobs = options.jobs_or_cores()
    return ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,))


@cache
def workload(name: str, data_dir: str | None = None) -> Workload:
    """Each process reads it once."""
    return load(name, data_dir)
