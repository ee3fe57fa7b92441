"""DTensors: tensors that are spread over processes, and the part of one that is here.

Nothing else in the package knows what a ``torch.distributed.tensor.DTensor`` is. An update works on
the local tensors, by the kernels of their device; no operator of DTensor runs in a step.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.formats import Format
from adamantine.codecs.blocks import BLOCK

Stretches = tuple[int, NDArray[np.int64]]
"""What :meth:`Part.stretches` returns."""


def is_dtensor(tensor: Any) -> bool:
    """Whether `tensor` is spread over processes."""
    # Where nobody has imported the module there is none, and importing it takes long.
    known = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return known is not None and isinstance(tensor, known)


def local_of(tensor: Tensor) -> Tensor:
    """What this process has of a tensor; of an ordinary one, the tensor."""
    # By its exact type first: a look at it takes 40 ns.
    if type(tensor) is Tensor or not is_dtensor(tensor):
        return tensor
    local: Tensor = tensor._local_tensor  # type: ignore[attr-defined]
    return local


def spread(tensor: Tensor) -> str:
    """How a tensor is spread over processes, in words."""
    if not is_dtensor(tensor):
        return "an ordinary tensor"
    placements = tensor.placements  # type: ignore[attr-defined]
    return f"a DTensor with placements {', '.join(map(repr, placements))}"


def like(whole: Tensor, local: Tensor) -> Tensor:
    """`local`, spread as `whole` is; itself where that is an ordinary tensor."""
    return Part(whole).like(local) if is_dtensor(whole) else local


def added_up(numbers: Tensor, mesh: Any) -> Tensor:
    """The sum over all processes of a mesh, in the place of `numbers`: one collective for each of
    its dimensions.
    """
    on_mesh = numbers.to(mesh.device_type)
    for dim in range(mesh.ndim):
        if mesh.size(dim) > 1:
            torch.distributed.all_reduce(on_mesh, group=mesh.get_group(dim))
    return on_mesh.to(numbers.device)


def total(by_mesh: Mapping[Any, float]) -> float:
    """The sum of what this process adds on each mesh, over its processes; None is no mesh.

    What is on none may be infinite or NaN on one process alone: then the sum is NaN on all of them,
    or they would part.
    """
    found = by_mesh.get(None, 0.0)
    lost = float(not math.isfinite(found))
    for mesh, number in by_mesh.items():
        if mesh is not None:
            given = torch.tensor([number, lost], dtype=torch.float64, device="cpu")
            added, lost_anywhere = added_up(given, mesh).tolist()
            found += math.nan if lost_anywhere else added
    return found


class Part:
    """The part of a DTensor that this process has.

    Parameters
    ----------
    whole
        The DTensor.

    Attributes
    ----------
    local
        Its elements that are here.
    mesh, placements
        The processes that share it, and how.
    """

    def __init__(self, whole: Any) -> None:
        self.whole: Tensor = whole
        self.local: Tensor = whole._local_tensor
        self.mesh = whole.device_mesh
        self.placements: tuple[Any, ...] = tuple(whole.placements)

    @property
    def is_partial(self) -> bool:
        """Whether its elements are still to be added up."""
        return any(placement.is_partial() for placement in self.placements)

    @cached_property
    def _coordinate(self) -> list[int] | None:
        found: list[int] | None = self.mesh.get_coordinate()
        return found

    @property
    def takes_part(self) -> bool:
        """Whether this process belongs to the mesh."""
        return self._coordinate is not None

    @cached_property
    def replicas(self) -> int:
        """How many processes have each element."""
        sizes = [
            self.mesh.size(dim) for dim, p in enumerate(self.placements) if _split_dim(p) is None
        ]
        return int(np.prod(sizes, dtype=np.int64))

    @cached_property
    def counts(self) -> bool:
        """Whether this process is the first of those that have its elements."""
        pairs = zip(self._coordinate or (), self.placements, strict=False)
        return self.takes_part and all(at == 0 for at, p in pairs if _split_dim(p) is None)

    def fits(self, other: Part) -> bool:
        """Whether another DTensor is spread over the same processes in the same way."""
        return self.placements == other.placements and self.mesh == other.mesh

    def like(self, local: Tensor) -> Tensor:
        """`local` as the part that this process has of a DTensor that is spread as this one is."""
        from torch.distributed.tensor import DTensor

        whole: Any = self.whole
        spec = copy.copy(whole._spec)
        spec.tensor_meta = spec.tensor_meta._replace(dtype=local.dtype)
        # As FSDP2 makes its parameters. from_local() would move it to the mesh's device, where it
        # is not under CPUOffloadPolicy.
        found: Tensor = DTensor(local, spec, requires_grad=False)  # type: ignore[no-untyped-call]
        return found

    def cut(self, whole: Tensor) -> Tensor:
        """The part of an ordinary tensor of the whole's shape that belongs here."""
        found = whole
        if not self.takes_part:
            return torch.empty_like(self.local, dtype=whole.dtype)
        for dim, indices in enumerate(self._indices()):
            if len(indices) < found.shape[dim]:
                chosen = torch.from_numpy(indices).to(whole.device)
                found = found.index_select(dim, chosen)
        return torch.empty_like(self.local, dtype=whole.dtype, requires_grad=False).copy_(found)

    def stretches(self, block: int) -> Stretches:
        """Where the elements, in the order of memory, have their places in the whole tensor.

        They come in stretches of one length (the last one may be shorter) in which places count up.
        Where these would cut blocks of `block` elements, each block counts up from the place of its
        first.

        Returns
        -------
        tuple
            The length of a stretch, and the place of the first element of each.
        """
        run, starts = self._runs
        if len(starts) <= 1 or run % block == 0:
            return run, starts
        firsts = np.arange(0, self.local.numel(), block)
        return block, starts[firsts // run] + firsts % run

    def places(self, block: int) -> Tensor:
        """The place in the whole tensor of each element, in the order of memory."""
        run, starts = self.stretches(block)
        found = (starts[:, None] + np.arange(run)).ravel()[: self.local.numel()]
        return torch.from_numpy(found).to(self.local.device)

    @cached_property
    def _runs(self) -> tuple[int, NDArray[np.int64]]:
        """Stretches as long as they can be, all of one length."""
        local = self.local
        if not local.numel():
            return 1, np.zeros(0, np.int64)
        indices, strides = self._indices(), self.whole.stride()
        run, starts = 1, np.zeros(1, np.int64)
        inner_first = sorted(range(local.dim()), key=lambda dim: local.stride(dim))
        for dim in sorted(inner_first, key=lambda dim: local.shape[dim] > 1):
            found, stride = indices[dim], strides[dim]
            in_a_row = found[-1] - found[0] + 1 == len(found)
            if len(starts) == 1 and in_a_row and (len(found) == 1 or stride == run):
                run, starts = run * len(found), starts + found[0] * stride
            else:
                starts = (found[:, None] * stride + starts).ravel()
        return run, starts

    def _indices(self) -> list[NDArray[np.int64]]:
        """Which elements of the whole tensor are here, along each of its dimensions."""
        found = [np.arange(size) for size in self.whole.shape]
        for mesh_dim, placement in enumerate(self.placements):
            dim = _split_dim(placement)
            if dim is not None and self._coordinate is not None:
                processes, own = self.mesh.size(mesh_dim), self._coordinate[mesh_dim]
                found[dim] = _split(found[dim], placement, processes, own)
        return found


def _split_dim(placement: Any) -> int | None:
    """The dimension that a placement splits, if it does."""
    return getattr(placement, "dim", None)


def _split(
    indices: NDArray[np.int64], placement: Any, processes: int, own: int
) -> NDArray[np.int64]:
    from torch.distributed.tensor import Shard

    if type(placement) is Shard:
        length = -(-len(indices) // processes)  # as torch.chunk
        return indices[own * length : (own + 1) * length]
    # FSDP over tensor parallelism splits in another order, which is torch's to say.
    shape = [1] * placement.dim + [-1]
    line = torch.from_numpy(indices).view(shape)
    parts, _ = placement._split_tensor(line, processes, with_padding=False, contiguous=False)
    return np.asarray(parts[own].reshape(-1).numpy())


def stretches_of(parts: Sequence[Part | None], formats: Sequence[Format]) -> list[Stretches | None]:
    """Where parts of DTensors lie in the whole, if the formats take random numbers by place."""
    if all(f.plain for f in formats):
        return [None] * len(parts)
    block = BLOCK if any(f.coded for f in formats) else 1
    return [None if part is None else part.stretches(block) for part in parts]


def ranges(size: int, stretches: Stretches | None) -> list[tuple[int, int, int]]:
    """Where each stretch of `size` elements begins and ends, and the place of its first element."""
    if stretches is None:
        return [(0, size, 0)]
    length, starts = stretches
    begins = range(0, size, length)
    return [(at, min(at + length, size), s) for at, s in zip(begins, starts.tolist(), strict=True)]
