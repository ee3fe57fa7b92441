"""What one process of ``test_distributed.py`` runs; spawned processes import it by name."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch

from clients.programs import run


def rank(number: int, programs: dict[str, str], ports: list[int], folder: Path) -> None:
    """Run each program as torchrun would; save its losses, parameters and states held here."""
    warnings.simplefilter("error")
    # Said by torch.distributed.optim when it is imported.
    warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
    torch.set_num_threads(1)
    os.environ.update(RANK=str(number), LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    for (name, code), port in zip(programs.items(), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        names = run(code)
        optimizer = getattr(names["optimizer"], "optim", names["optimizer"])  # within ZeRO
        outcome = {
            "losses": names["losses"],
            "params": [p.detach() for p in names["model"].parameters()],
            "class": type(optimizer).__module__,
            "states": len(optimizer.state),
        }
        torch.save(outcome, folder / f"{name}-{number}.pt")
