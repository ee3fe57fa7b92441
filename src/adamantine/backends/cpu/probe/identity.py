"""Whether dictionaries and lists still hold the very objects that they held.

A step asks this of the parameter groups, their lists of parameters and the optimizer's ``state``.
In Python that is a list of everything and a comparison of two such lists, a fifth of the time of a
small network's step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from adamantine.backends.cpu.compiling.decorators import njit_cached
from adamantine.backends.cpu.compiling.memory import int64_pointer
from adamantine.backends.cpu.compiling.native import address_of, call1, call4, object2

# C functions that `_hold` calls.
_NEXT, _ITEM, _SIZE = range(3)

(
    _DICTS,  # how many
    _LISTS,
    _OBJECTS,  # int64: of each dictionary, then each list: its id, its length, and what it holds
    _POSITION,  # what PyDict_Next leaves here
    _KEY,
    _VALUE,
    _FUNCTIONS,  # int64: the addresses of the C functions
    _WORDS,
) = range(8)


@cache
def _functions() -> NDArray[np.int64]:
    python = ctypes.pythonapi
    found = (python.PyDict_Next, python.PyList_GetItem, python.PyList_Size)
    return np.array(list(map(address_of, found)), np.int64)


@njit_cached()
def _hold(block):
    """The caller holds the GIL."""
    words = carray(int64_pointer(block), _WORDS)
    calls = carray(int64_pointer(words[_FUNCTIONS]), 3)
    at = words[_OBJECTS]
    for _ in range(words[_DICTS]):
        held = carray(int64_pointer(at), 2)
        expected = carray(int64_pointer(at + 16), 2 * held[1])
        words[_POSITION] = 0
        found = 0
        while call4(
            calls[_NEXT], held[0], block + 8 * _POSITION, block + 8 * _KEY, block + 8 * _VALUE
        ):
            if (
                found == held[1]
                or words[_KEY] != expected[2 * found]
                or words[_VALUE] != expected[2 * found + 1]
            ):
                return False
            found += 1
        if found != held[1]:
            return False
        at += 16 + 16 * found
    for _ in range(words[_LISTS]):
        held = carray(int64_pointer(at), 2)
        expected = carray(int64_pointer(at + 16), held[1])
        if call1(calls[_SIZE], held[0]) != held[1]:
            return False
        for index in range(held[1]):
            if object2(calls[_ITEM], held[0], index) != expected[index]:
                return False
        at += 16 + 8 * held[1]
    return True


class Identities:
    """The objects that some dictionaries and lists hold, in their order.

    They are kept alive, so that no other object can come to their addresses.
    """

    def __init__(self, dicts: Iterable[dict[Any, Any]], lists: Iterable[list[Any]]) -> None:
        dicts, lists = list(dicts), list(lists)
        contents = [list(chain.from_iterable(held.items())) for held in dicts]
        contents += [list(held) for held in lists]
        ids: list[int] = []
        for held, objects in zip([*dicts, *lists], contents, strict=True):
            ids += (id(held), len(held), *map(id, objects))
        self._kept = dicts, lists, contents
        self._objects = np.array(ids, np.int64)
        self._words = np.zeros(_WORDS, np.int64)
        self._words[:_POSITION] = len(dicts), len(lists), self._objects.ctypes.data
        self._words[_FUNCTIONS] = _functions().ctypes.data
        self._block: int = self._words.ctypes.data

    def hold(self) -> bool:
        """Whether all of them hold the same objects as ever."""
        return bool(_hold(self._block))
