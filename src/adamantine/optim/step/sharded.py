"""The DTensors of a plan: their local gradients, and what processes tell each other of them.

All processes of a mesh have to come to every collective, and to decide alike. So a collective has a
row for each DTensor of the optimizer on that mesh, in the order of the groups, whether or not there
is a gradient for it here, and whatever updates it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.shards import Part, added_up, is_dtensor, spread, total
from adamantine.errors import BackendError
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.optim.usage.labels import label

Group = dict[str, Any]
Numbers = NDArray[Any]
Measured = tuple[Tensor, Numbers, Numbers]
"""See :data:`.stats.Measured`."""

COUNTED = 4
"""How many sums there are where what is not finite was counted, too."""

_LOCAL, _GRAD = operator.attrgetter("_local_tensor"), operator.attrgetter("grad")


def _spec(grad: Any) -> Any:
    """Of a DTensor; None of what is none."""
    return getattr(grad, "_spec", None)


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


class _Rows:
    """The DTensors on one mesh, each with a row in its collectives."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.ids = [id(part.whole) for part in parts]
        self.counts = np.array([[part.counts] for part in parts], np.int64)
        self.replicas = np.array([[part.replicas] for part in parts], np.float64)


class Sharded:
    """Parameters that are spread over processes.

    Parameters
    ----------
    found
        What :func:`parts_of` has found, also of parameters that have no gradient yet.
    groups
        The optimizer's, for messages.
    """

    def __init__(self, found: Sequence[tuple[int, Part]], groups: Sequence[Group]) -> None:
        self._groups = groups
        parts = [part for _, part in found]
        self._parts = {id(part.whole): part for part in parts}
        self._wholes = [part.whole for part in parts]
        self._locals = [part.local for part in parts]
        self._whole_of = {id(part.local): part.whole for part in parts}
        # By id of the parameter, a spec that its gradient may have.
        self._known: dict[int, Any] = {}
        self._specs: dict[int, list[Any]] = {}  # by id of a list of parameters, all of theirs
        self._meshes: dict[Any, _Rows] = {}
        by_mesh: dict[Any, list[Part]] = {}
        for part in parts:
            if part.takes_part:
                by_mesh.setdefault(part.mesh, []).append(part)
        self._meshes = {mesh: _Rows(found) for mesh, found in by_mesh.items()}

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

    def all_gradients(self, params: list[Tensor], of: Callable[[Tensor], Any]) -> list[Any]:
        """What :meth:`gradients` says, `of`, of a list; quick where all have known placements."""
        specs = self._specs.get(id(params))
        if specs is not None:
            grads = list(map(_GRAD, params))
            # Some may have none, or one that is an ordinary tensor.
            if all(map(operator.is_, map(_spec, grads), specs)):
                return list(map(_LOCAL, grads))
        found = list(map(of, params))
        known = [self._known.get(id(param)) for param in params]
        if all(spec is not None for spec in known):
            self._specs[id(params)] = known
        return found

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

        Where sums of integers have to be `exact`, one process gives what it has of an element.
        Otherwise each that has the element gives its share, so that a NaN in any of them is one for
        all.
        """
        sums: dict[int, list[Any]] = {}
        nothing = [0.0] * columns
        for mesh, rows in self._meshes.items():
            given = [[*found.get(key, ()), *nothing][:columns] for key in rows.ids]
            numbers: Any = np.array(given, np.float64)
            numbers = np.where(rows.counts, numbers, 0) if exact else numbers / rows.replicas
            total = added_up(torch.from_numpy(numbers), mesh).tolist()
            sums |= zip(rows.ids, total, strict=True)
        return sums

    def anywhere(self, here: bool) -> bool:
        """Whether something is so on any process of any mesh."""
        return total(dict.fromkeys(self._meshes, float(here))) > 0 or here

    def by_mesh(self, pairs: Iterable[tuple[Tensor, float]]) -> dict[Any, float]:
        """What parameters add to a sum on each mesh, and under None those that are ordinary.

        Each process that has an element gives its share.
        """
        found = {id(param): number for param, number in pairs}
        sums: dict[Any, float] = {}
        for mesh, rows in self._meshes.items():
            here = np.array([found.get(key, 0.0) for key in rows.ids])
            sums[mesh] = float((here / rows.replicas[:, 0]).sum())
        return sums | {None: sum(n for key, n in found.items() if key not in self._parts)}

    def of_wholes(self, measured: Sequence[Measured]) -> list[Measured]:
        """What was measured of parts, said of the whole: sums are added up, samples stay those
        that are here.
        """
        named = [(self._whole_of.get(id(p), p), sums, samples) for p, sums, samples in measured]
        given = {id(p): [*sums.tolist(), math.nan][:COUNTED] for p, sums, _ in named}
        totals = self.totals(given, COUNTED, exact=False)
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
