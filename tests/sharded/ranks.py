"""One process of those that ``test_sharded.py`` starts; it imports this by name."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import traceback
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch


def rank(number: int, processes: int, port: int, names: Sequence[str], folder: Path) -> None:
    """Do these checks (``module.function``) in one process group; write what went wrong in each."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(number), WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=30))
    mesh = torch.distributed.init_device_mesh("cpu", (processes,))
    file = folder / f"{number}.json"
    problems: dict[str, str] = {}
    for name in names:
        try:
            module, _, function = name.rpartition(".")
            check = getattr(importlib.import_module(f"sharded.{module}"), function)
            check(*(mesh, folder)[: len(inspect.signature(check).parameters)])
        except BaseException:
            problems[name] = f"on rank {number}:\n{traceback.format_exc()}"
        else:
            problems[name] = ""
        file.write_text(json.dumps(problems))
        failed = torch.tensor(float(bool(problems[name])))
        torch.distributed.all_reduce(failed)  # or a process would wait for one that gave up
    torch.distributed.destroy_process_group()
