"""All gradients of a step together: their norm, whose they are, and how they are zeroed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from adamantine.backends.layout import are_apart, extent, has_own_dispatch
from adamantine.backends.shards import local_of, total
from adamantine.optim.step.sharded import Sharded, parts_of
from adamantine.optim.usage.labels import label_at

if TYPE_CHECKING:
    from adamantine.backends.cpu.table.table import Table
    from adamantine.backends.gpu.table import Table as DeviceTable


@dataclass(frozen=True)
class Gradients:
    """What a step is about to read.

    Parameters
    ----------
    tables
        Refreshed, so with this step's gradients.
    others
        Parameters with the gradients that torch works on, sparse ones among them; of DTensors the
        gradients that are here.
    sharded
        The DTensors, where there are some.
    host_waits
        Whether the host waits for all devices in any case, and so may decide.
    """

    tables: Sequence[Table | DeviceTable]
    others: Sequence[tuple[Tensor, Tensor]]
    sharded: Sharded | None = None
    host_waits: bool = False

    def sum_of_squares(self) -> float:
        """Over all elements, in float64; infinite or NaN where an element is.

        One read of main memory by compiled code; of every other device, one number comes back. Of
        DTensors, elements elsewhere are among them: all processes get the same number.
        """
        return self._of_whole() if self.sharded is None else total(self.sums_of_squares())

    def deciding_device(self, may_skip: bool) -> torch.device | None:
        """The device that can decide over the step; None where the host has to.

        That is where it does a part of the step itself, or has to count it.
        """
        if self.others or self.sharded is not None or self.host_waits or not self.tables:
            return None
        able = all(t.on_device and (t.counts_on_device or not may_skip) for t in self.tables)
        first = self.tables[0]
        return first.device if able and first.on_device else None

    def sum_of_squares_on(self, device: torch.device) -> Tensor:
        """:meth:`sum_of_squares` of what is all on devices, as a tensor; nobody waits."""
        sums = [table.squares().sum() for table in self.tables if table.on_device]
        return torch.stack([s.to(device, non_blocking=True) for s in sums]).sum()

    def sums_of_squares(self) -> dict[Any, float]:
        """The same of what is here, by the mesh over whose processes it has to be added up.

        None is for what is whole here.
        """
        if self.sharded is None:
            return {None: self._of_whole()}
        pairs = [(param, sum_of_squares([grad])) for param, grad in self.others]
        for table in self.tables:
            pairs += zip(table.wholes, table.sums_of_squares().tolist(), strict=True)
        return self.sharded.by_mesh(pairs)

    def _of_whole(self) -> float:
        found = sum(table.sum_of_squares() for table in self.tables)
        return found + sum_of_squares(grad for _, grad in self.others) if self.others else found

    def anywhere(self, here: bool) -> bool:
        """Whether something is so on any of the processes that share a tensor."""
        return here if self.sharded is None else self.sharded.anywhere(here)

    def are_apart(self) -> bool:
        """Whether no two share memory, so that each may be zeroed as soon as it has been read."""
        extents = [extent(values_of(grad)) for _, grad in self.others]
        known = [e for e in extents if e is not None]
        if len(known) < len(extents):
            return False
        spans = [table.gradient_spans() for table in self.tables]
        begins, ends = np.concatenate([*spans, np.array(known, np.int64).reshape(-1, 2)]).T
        return are_apart(begins, ends)

    def of_tables(self) -> dict[int, Tensor]:
        """Those that kernels read, by id: hashing a tensor is a call in Python."""
        return {id(grad): grad for table in self.tables for grad in table.gradients()}


def sum_of_squares(grads: Iterable[Tensor]) -> float:
    """Of all elements, in float64, by torch; infinite or NaN where one is."""
    norms: dict[torch.device, list[Tensor]] = defaultdict(list)
    for values in map(values_of, grads):
        norm = torch.linalg.vector_norm(values, dtype=_wide(values))
        # Of a tensor that is spread over processes, every one gets the norm of the whole.
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        norms[norm.device].append(norm)
    sums = (torch.stack(same).cpu().double().square().sum() for same in norms.values())
    # Not tolist(), which looks past whoever traces the step or maps over it.
    return sum(total.item() for total in sums)


def _wide(values: Tensor) -> torch.dtype:
    if values.device.type == "mps":  # it has no float64
        return torch.complex64 if values.is_complex() else torch.float32
    return torch.complex128 if values.is_complex() else torch.float64


def values_of(grad: Tensor) -> Tensor:
    """The numbers that a gradient adds up to; a sparse one may have some of them in parts."""
    return grad.detach().coalesce().values() if grad.is_sparse else grad.detach()


def nonfinite(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Labels of the parameters whose gradient holds an infinity or NaN."""
    grads = {id(p): p.grad for group in groups for p in group["params"] if p.grad is not None}
    counts = {
        key: [int((~torch.isfinite(values_of(local_of(grad)))).sum())]
        for key, grad in grads.items()
    }
    parts = parts_of(enumerate(group["params"] for group in groups), groups)
    if parts:
        counts |= Sharded(parts, groups).totals(counts, 1, exact=False)
    return [
        label_at(group, index, position)
        for index, group in enumerate(groups)
        for position, param in enumerate(group["params"])
        if counts.get(id(param), [0])[0] > 0
    ]


def held(groups: Sequence[dict[str, Any]]) -> Iterator[Tensor]:
    """The gradients that are there."""
    for group in groups:
        for param in group["params"]:
            grad = param.grad
            if grad is not None:
                yield grad


def multiply(grads: Iterable[Tensor], factor: float | Tensor) -> None:
    """Multiply gradients in place; of sparse ones, the values that are there."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for grad in map(local_of, grads):
        alike[grad.device, grad.dtype].append(grad._values() if grad.is_sparse else grad)
    with torch.no_grad():
        for (device, dtype), values in alike.items():
            there = factor
            if isinstance(factor, Tensor):
                there = factor.to(device, non_blocking=True)
                # By a factor of another dtype, torch multiplies them one by one.
                there = there.to(dtype) if dtype == torch.float32 else there
            torch._foreach_mul_(values, there)


def fill_with_zeros(grads: Iterable[Tensor], zeroed: Collection[int]) -> None:
    """Do what torch's ``zero_grad(set_to_none=False)`` does, except for what is zeros already.

    `zeroed` has the ids of those.
    """
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
    for grad in grads:
        if grad.requires_grad:
            grad.detach_() if grad.grad_fn is not None else grad.requires_grad_(False)
        if id(grad) not in zeroed:
            here = local_of(grad)
            if id(here) in zeroed:
                continue
            if here.is_cpu or here.is_sparse or has_own_dispatch(here):
                here.zero_()
            else:
                by_device[here.device].append(here)
    for there in by_device.values():
        torch._foreach_zero_(there)
