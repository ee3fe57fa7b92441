"""Where a run's random numbers come from, and how to stop and restart them."""

import random
from typing import Any

import numpy as np
import torch

from adamantine.errors import UsageError

LIMIT = 2**63


def check_seed(seed: int) -> None:
    """Raise :class:`UsageError` unless ``0 <= seed < 2**63``."""
    if not 0 <= seed < LIMIT:
        raise UsageError(f"seed is {seed}, expected 0 <= seed < 2**63")


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), NumPy's and Python's global generators.

    Call it before you build the model, because it determines the initial weights. NumPy's and
    Python's generators are seeded for your own data transforms; this package uses neither.
    """
    check_seed(seed)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' transforms draw from the global one
    random.seed(seed)


def data_order(seed: int) -> torch.Generator:
    """The generator that shuffles the training data, apart from the one that drops units out."""
    check_seed(seed)
    return torch.Generator().manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """The state of every global generator, in types that ``weights_only`` loading takes."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`rng_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
