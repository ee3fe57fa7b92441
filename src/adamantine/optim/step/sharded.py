"""The DTensors of a plan: their local gradients, and what processes tell each other of them.

All processes of a mesh have to come to every collective, and to decide alike. So a collective has a
row for each DTensor of the optimizer on that mesh, in the order of the groups, whether or not there
is a gradient for it here, and whatever updates it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.shards import Part, added_up, is_dtensor, spread
from adamantine.errors import BackendError
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.optim.usage.labels import label

Group = dict[str, Any]
Numbers = NDArray[Any]
Measured = tuple[Tensor, Numbers, Numbers]
"""See :data:`.stats.Measured`."""

_LOCAL = operator.attrgetter("_local_tensor")


def parts_of(
    covered: Iterable[tuple[int, list[Tensor]]], groups: Sequence[Group]
) -> list[tuple[int, Part]]:
    """Of all parameters that are DTensors, the parts that are here, with their groups' numbers.

    Those that autograd is to see are left whole, for it knows nothing of parts.
    """
    return [
        (index, _part_of(param, groups))
        for index, params in covered
        for param in params
        if is_dtensor(param) and not groups[index].get(BY_AUTOGRAD)
    ]


def _part_of(param: Tensor, groups: Sequence[Group]) -> Part:
    part = Part(param)
    if part.is_partial:
        raise BackendError(
            f"{label(groups, param)} is {spread(param)}: its values are still to be added up over "
            "processes, so that there is nothing to update; redistribute it first"
        )
    return part


class Sharded:
    """Parameters that are spread over processes.

    Parameters
    ----------
    found
        What :func:`parts_of` has found, also of parameters that have no gradient yet.
    groups
        The optimizer's, for messages.

    Attributes
    ----------
    groups
        The numbers of those that have some.
    """

    def __init__(self, found: Sequence[tuple[int, Part]], groups: Sequence[Group]) -> None:
        self._groups = groups
        self.groups = list(dict.fromkeys(index for index, _ in found))
        parts = [part for _, part in found]
        self._parts = {id(part.whole): part for part in parts}
        self._wholes = [part.whole for part in parts]
        self._locals = [part.local for part in parts]
        self._whole_of = {id(part.local): part.whole for part in parts}
        # By id of the parameter, a spec that its gradient may have.
        self._known: dict[int, Any] = {}
        self._meshes: dict[Any, list[Part]] = {}
        for part in parts:
            if part.takes_part:
                self._meshes.setdefault(part.mesh, []).append(part)

    def part_of(self, param: Tensor) -> Part | None:
        """The part of `param` that is here, if it is a DTensor."""
        return self._parts.get(id(param))

    def hold(self) -> bool:
        """Whether all local tensors are the same objects as ever."""
        return all(map(operator.is_, map(_LOCAL, self._wholes), self._locals))

    def gradients(self, of_others: Callable[[Tensor], Tensor | None]) -> Any:
        """A function from parameters to gradients: of a DTensor, the part that is here."""

        def gradient(param: Tensor) -> Tensor | None:
            part = self._parts.get(id(param))
            if part is None:
                return of_others(param)
            grad: Any = param.grad
            if grad is None:
                return None
            if getattr(grad, "_spec", None) is not self._known.get(id(param), part):
                return self._first_gradient(part, grad)
            local: Tensor = grad._local_tensor
            return local

        return gradient

    def _first_gradient(self, part: Part, grad: Any) -> Tensor:
        """The local part of a gradient whose placements are not known yet."""
        if problem := _problem(part, grad):
            raise BackendError(f"{label(self._groups, part.whole)} {problem}")
        given = Part(grad)
        if part.fits(given):
            self._known[id(part.whole)] = grad._spec
            return given.local
        with torch.no_grad():
            return Part(grad.redistribute(placements=part.placements)).local

    def totals(
        self, found: Mapping[int, Sequence[float]], columns: int, exact: bool
    ) -> dict[int, list[Any]]:
        """What processes have found, added up, by the id of the parameter.

        Counts are exact: of each element, one process counts. Of other numbers, each process that
        has the element gives its share, so that a NaN in any of them is one for all.
        """
        sums: dict[int, list[Any]] = {}
        for mesh, parts in self._meshes.items():
            numbers = np.zeros((len(parts), columns), np.int64 if exact else np.float64)
            for row, part in enumerate(parts):
                if id(part.whole) in found and (part.counts or not exact):
                    numbers[row] = found[id(part.whole)]
                    if not exact:
                        numbers[row] /= part.replicas
            total = added_up(torch.from_numpy(numbers), mesh).tolist()
            sums |= {id(part.whole): row for part, row in zip(parts, total, strict=True)}
        return sums

    def by_mesh(self, pairs: Iterable[tuple[Tensor, float]]) -> dict[Any, float]:
        """What parameters add to a sum on each mesh, and under None those that are ordinary.

        Each process that has an element gives its share.
        """
        sums: dict[Any, float] = {None: 0.0} | dict.fromkeys(self._meshes, 0.0)
        for param, number in pairs:
            part = self._parts.get(id(param))
            if part is None:
                sums[None] += number
            elif part.takes_part:
                sums[part.mesh] += number / part.replicas
        return sums

    def of_wholes(self, measured: Sequence[Measured]) -> list[Measured]:
        """What was measured of parts, said of the whole: sums are added up, samples stay those
        that are here.
        """
        named = [(self._whole_of.get(id(p), p), sums, samples) for p, sums, samples in measured]
        totals = self.totals({id(p): sums.tolist() for p, sums, _ in named}, 3, exact=False)
        return [(p, np.array(totals.get(id(p), sums)), samples) for p, sums, samples in named]


def _problem(part: Part, grad: Tensor) -> str | None:
    """What is wrong with a gradient, after the words for its parameter; None where nothing is."""
    own = spread(part.whole)
    if not is_dtensor(grad):
        return (
            f"is {own}, and its gradient an ordinary tensor; give it one of the same placements "
            "(DTensor.from_local, or distribute_tensor)"
        )
    given = Part(grad)
    if given.local.layout != torch.strided:
        return (
            f"is {own} and has a sparse gradient: which rows are whose the update does not know; "
            "build the layer with sparse=False"
        )
    if given.is_partial:
        return (
            f"has a gradient that is {spread(grad)}: its values are still to be added up over "
            "processes, and each of them would update by what it has alone. Before step(): "
            "param.grad = param.grad.redistribute(placements=param.placements)"
        )
    if grad.shape != part.whole.shape or given.mesh != part.mesh:
        return (
            f"of shape {tuple(part.whole.shape)} on {part.mesh} has a gradient of shape "
            f"{tuple(grad.shape)} on {given.mesh}; call zero_grad() and backward() again after "
            "replacing a parameter's data"
        )
    return None
