"""How much memory an optimizer holds, and how much a process came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Held:
    """Bytes that an optimizer holds: of tensors, and of NumPy arrays (tables of addresses)."""

    tensors: int
    arrays: int = 0


def held(optimizer: torch.optim.Optimizer) -> Held:
    """All tensors and arrays that can be reached from `optimizer`, wherever it keeps them.

    Its ``state`` is only a part of them: buffers and code books count, too, each memory once.
    Parameters and their gradients do not count. The way leads through containers and through
    objects of the optimizer's own package.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    theirs = {_memory(t)[0] for p in params for t in (p, p.grad) if t is not None}
    found = list(_reachable(optimizer, _package(optimizer)))
    tensors = dict(_memory(each) for each in found if isinstance(each, Tensor))
    arrays = dict(_memory(each) for each in found if isinstance(each, np.ndarray))
    return Held(_sum(tensors, theirs), _sum(arrays, theirs | set(tensors)))


def _sum(sizes: Mapping[int, int], but: set[int]) -> int:
    return sum(size for address, size in sizes.items() if address not in but)


def _reachable(root: object, package: str) -> Iterator[Tensor | np.ndarray]:
    seen, pending = set(), [root]
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if hasattr(found, "__tensor_flatten__"):  # torchao's states: a tensor made of tensors
            pending += [getattr(found, name) for name in found.__tensor_flatten__()[0]]
        elif isinstance(found, (Tensor, np.ndarray)):
            yield found
        elif isinstance(found, Mapping):
            pending += [*found.keys(), *found.values()]
        elif isinstance(found, (list, tuple, set, frozenset)):
            pending += found
        if _package(found) == package:
            pending += _attributes(found)


def _package(found: object) -> str:
    return type(found).__module__.partition(".")[0]


def _attributes(found: object) -> list[Any]:
    slots = (name for kind in type(found).__mro__ for name in kind.__dict__.get("__slots__", ()))
    own = [getattr(found, name) for name in slots if hasattr(found, name)]
    return [*own, *getattr(found, "__dict__", {}).values()]


def _memory(found: Tensor | np.ndarray) -> tuple[int, int]:
    """Address and size of what `found` may be a part of."""
    if isinstance(found, Tensor):
        return found.untyped_storage().data_ptr(), found.untyped_storage().nbytes()
    while isinstance(found.base, np.ndarray):
        found = found.base
    return found.ctypes.data, found.nbytes


def resident() -> int | None:
    """Bytes of this process that lie in main memory now; None where the system does not say."""
    return _status("VmRSS")


def peak() -> int | None:
    """The most that :func:`resident` has been."""
    return _status("VmHWM")


def _status(name: str) -> int | None:
    if not STATUS.exists():
        return None
    # Linux, proc(5): "VmHWM:     1234 kB", where kB is KiB.
    words = STATUS.read_text().split()
    return int(words[words.index(f"{name}:") + 1]) * 1024
