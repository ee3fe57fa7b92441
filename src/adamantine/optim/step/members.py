"""Which parameters a plan has, each with its rule, its state and what these are kept in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.codecs import noise
from adamantine.optim.state.precision import treatment
from adamantine.optim.state.preparing import prepare_state
from adamantine.optim.state.sharded import prepare_part
from adamantine.optim.step.sharded import Sharded
from adamantine.optim.step.unchanged import SPARSE, covered
from adamantine.optim.step.updates.choice import counts_on_device
from adamantine.optim.step.updates.member import Member, Only
from adamantine.rules import Family

Group = dict[str, Any]


class Members:
    """The parameters with a gradient or a state; states that are missing are made.

    Parameters
    ----------
    family, groups, state, backend, seed, only, may_skip
        As for :class:`.Plan`.

    Attributes
    ----------
    created
        Those whose state was made for the coming step.
    """

    def __init__(
        self,
        family: Family,
        groups: list[Group],
        state: defaultdict[Any, Any],
        backend: BackendName,
        seed: int,
        only: Only | None,
        may_skip: bool,
    ) -> None:
        self._family, self._groups, self._state = family, groups, state
        self._backend, self._seed, self._only, self._may_skip = backend, seed, only, may_skip
        self.created: list[Tensor] = []
        self._waiting: list[Tensor] = []

    def make(self, sharded: Sharded | None, may_count_there: bool) -> list[Member]:
        """All of them, in order; some may be counted on a device where `may_count_there`."""
        return list(self._found(sharded, may_count_there))

    def have_more(self) -> bool:
        """Whether a parameter without a state has got a gradient since."""
        return any(param.grad is not None for param in self._waiting)

    def forget(self) -> None:
        """Drop the states that were made for a step that was not done."""
        for param in self.created:
            self._state.pop(param, None)
        self.created.clear()

    def _found(self, sharded: Sharded | None, may_count_there: bool) -> Iterator[Member]:
        place = count(0 if self._only is None else self._only.place)
        for index, params in covered(self._groups, self._only):
            group = self._groups[index]
            for param in params:
                stream = noise.stream(self._seed, next(place))
                if param.grad is None and not self._state.get(param):
                    self._waiting.append(param)  # torch creates states with the first gradient
                    continue
                found = self._state.get(param, {})
                treated = treatment(self._family, group, param, found, self._groups)
                # Plain SGD keeps none: an empty entry would show in the state_dict.
                keeps = treated.rule.states or treated.counters
                if keeps and not found:
                    self.created.append(param)
                state = self._state[param] if keeps else {}
                part = None if sharded is None else sharded.part_of(param)
                given = (state, group, self._groups)
                local = param if part is None else part.local
                there = may_count_there and counts_on_device(
                    treated, local, group, found, self._backend, self._may_skip
                )
                counts_on = local.device if there else None
                here: dict[str, Any] = {}
                if part is None:
                    fresh = prepare_state(self._family, treated, param, *given, counts_on=counts_on)
                else:
                    fresh, here = prepare_part(self._family, treated, part, *given, counts_on)
                yield Member(index, treated, param, state, fresh, stream, part, here, there)


def with_rows(members: Sequence[Member], groups: Sequence[Group]) -> list[tuple[Member, Group]]:
    """Those that have a sparse gradient, or may get one at any time, with their groups."""
    found = []
    for member in members:
        if member.part is not None:
            continue
        group, grad = groups[member.group], member.param.grad
        is_sparse = grad is not None and grad.is_sparse
        if is_sparse or group.get(SPARSE) is not None:
            found.append((member, group))
    return found
