"""Sums over elements, for scalars that depend on whole tensors.

``reassoc`` is allowed in the additions alone, or LLVM could not do several at once: what is added
up has the bits that the update finds. Of each `PART` of a tensor there are sums of their own, so
that nothing depends on the size of chunks; the host adds them up in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray

from adamantine.backends.cpu.compiling.decorators import overloads
from adamantine.backends.cpu.compiling.memory import float64_pointer
from adamantine.backends.cpu.kernel.arguments import FOUND
from adamantine.backends.cpu.kernel.step_statistics import plus
from adamantine.rules.rule import Kind

PART, PARTS = 4_096, 4
"""Elements of a part, and the most parts of a chunk: a chunk ends where a part does."""

NOTHING = np.float64(0)


def no_sums(terms):
    """Sums of no elements, as many as `terms`."""
    raise NotImplementedError("only inside compiled code")


@overloads(no_sums)
def _no_sums(terms):
    if len(terms) == 0:
        return lambda terms: ()
    return lambda terms: (NOTHING,) + no_sums(terms[1:])


def leave_sums(words, place, sums):
    """Write sums, one after the other, from `place` on."""
    raise NotImplementedError("only inside compiled code")


@overloads(leave_sums)
def _leave_sums(words, place, sums):
    if len(sums) == 0:
        return lambda words, place, sums: None

    def implementation(words, place, sums):
        carray(float64_pointer(words[FOUND] + 8 * place), 1)[0] = sums[0]
        leave_sums(words, place + 1, sums[1:])

    return implementation


def summed(sums, terms):
    """`sums` with an element's terms."""
    raise NotImplementedError("only inside compiled code")


def counted(sums, terms):
    """`sums` with a one for each of an element's terms that is above zero."""
    raise NotImplementedError("only inside compiled code")


def squared(sums, terms):
    """`sums` with the squares of an element's terms."""
    raise NotImplementedError("only inside compiled code")


@overloads(summed)
def _summed(sums, terms):
    if len(terms) == 0:
        return lambda sums, terms: ()
    return lambda sums, terms: (plus(sums[0], np.float64(terms[0])),) + summed(sums[1:], terms[1:])


@overloads(counted)
def _counted(sums, terms):
    if len(terms) == 0:
        return lambda sums, terms: ()
    return lambda sums, terms: (
        (plus(sums[0], np.float64(terms[0] > 0)),) + counted(sums[1:], terms[1:])
    )


@overloads(squared)
def _squared(sums, terms):
    if len(terms) == 0:
        return lambda sums, terms: ()

    def implementation(sums, terms):
        wide = np.float64(terms[0])
        return (plus(sums[0], wide * wide),) + squared(sums[1:], terms[1:])

    return implementation


BY_KIND: dict[Kind, Callable[..., Any]] = {"sum": summed, "count": counted, "squares": squared}
