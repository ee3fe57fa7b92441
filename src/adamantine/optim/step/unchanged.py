"""Whether everything that a plan was made from is still in its place."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adamantine.backends.compiling import has
from adamantine.optim.step.updates.member import Only
from adamantine.optim.usage.hints import HINTS
from adamantine.optim.usage.options import OF_GROUPS
from adamantine.rules import Family

if TYPE_CHECKING:
    from adamantine.backends.cpu.probe.identity import Identities

Group = dict[str, Any]
SPARSE = "sparse"
_FLAGS = (*HINTS, SPARSE, *OF_GROUPS)
_CONSTANTS = (int, float, str, type(None), list)  # a list is the parameters'


class Unchanged:
    """The parameters, states and settings of an optimizer, as they were when this was made.

    Parameters
    ----------
    family
        Chooses a rule by a group's settings.
    groups, state
        The optimizer's.
    only
        The one parameter that matters, if not all do.
    states
        Dictionaries whose contents matter, too: the states that no table looks at itself.
    compiled
        Whether compiled code may look.
    """

    def __init__(
        self,
        family: Family,
        groups: list[Group],
        state: dict[Any, Any],
        only: Only | None,
        states: Sequence[dict[str, Any]],
        compiled: bool,
    ) -> None:
        self._family, self._groups, self._state = family, groups, state
        self._only, self._states = only, states
        self._params = [group["params"] for group in groups]
        # Compiled code walks lists, as torch makes them; somebody may have put a tuple there.
        lists = all(type(found) is list for found in (groups, *self._params))
        self._compiled = compiled and only is None and lists and has("numba")
        self._containers = self._of_containers() if self._compiled else None
        self._objects = self._list_objects() if self._containers is None else []
        self._choices = [tuple(map(_kept, choices)) for choices in self._list_choices()]
        self._settings = self._of_settings()

    @property
    def constant(self) -> bool:
        """Whether settings are Python's own numbers, which change by being replaced alone."""
        return self._settings is not None

    def holds(self) -> bool:
        """Whether all objects are the same, and no setting asks for another treatment."""
        return self._holds_objects() and self._holds_settings()

    def _holds_objects(self) -> bool:
        if self._containers is not None:
            return self._containers.hold()
        seen, now = self._objects, self._list_objects()
        return len(seen) == len(now) and all(map(operator.is_, seen, now))

    def _holds_settings(self) -> bool:
        if self._settings is not None and self._settings.hold():
            return True
        params = [group["params"] for group in self._groups]
        if len(params) != len(self._params) or not all(map(operator.is_, params, self._params)):
            return False  # other lists, of which those that are watched say nothing
        if self._choices != self._list_choices():
            return False
        self._settings = self._of_settings()  # another learning rate, most likely
        return True

    def _of_containers(self) -> Identities:
        from adamantine.backends.cpu.probe.identity import Identities

        return Identities([self._state, *self._states], [self._groups, *self._params])

    def _of_settings(self) -> Identities | None:
        """None where settings can change within the objects that hold them."""
        dicts = list(self._groups)
        for group in self._groups:
            for value in group.values():
                if type(value) is dict:
                    dicts.append(value)
                elif not _is_constant(value):
                    return None
        if not self._compiled:
            return None
        from adamantine.backends.cpu.probe.identity import Identities

        return Identities(dicts, [])

    def _list_objects(self) -> list[object]:
        """Everything whose replacement matters; compared by identity.

        What a table works on is not in here: it compares its states itself.
        """
        objects: list[object] = []
        for _, params in covered(self._groups, self._only):
            objects += params
        objects += (
            self._state.values() if self._only is None else [self._state.get(self._only.param)]
        )
        for state in self._states:
            objects += state.values()
        return objects

    def _list_choices(self) -> list[tuple[object, ...]]:
        """What groups say that changes who does what; compared by value."""
        select = self._family.select
        groups = ((self._groups[i], params) for i, params in covered(self._groups, self._only))
        return [(select(group), len(params), *map(group.get, _FLAGS)) for group, params in groups]


def covered(groups: list[Group], only: Only | None) -> Iterable[tuple[int, list[Tensor]]]:
    """The groups that matter, by their numbers, and those of their parameters that do."""
    if only is None:
        return ((index, group["params"]) for index, group in enumerate(groups))
    return ((only.group, [only.param]),)


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, _CONSTANTS)


def _kept(setting: object) -> object:
    """A setting as it is now, whatever is done to it later."""
    return dict(setting) if isinstance(setting, Mapping) else setting
