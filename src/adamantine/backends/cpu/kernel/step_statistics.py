"""What a step can tell of itself, gathered while it has everything at hand.

For each chunk the sums of the squares of gradient, update and parameter, and for some elements how
far they went for each unit of their gradient. Sums go along in the update's own loop, where a
processor that waits for roots and divisions has time for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from adamantine.backends.cpu.compiling.decorators import njit_called, overloads
from adamantine.backends.cpu.compiling.elements import read
from adamantine.backends.cpu.compiling.memory import float64_pointer, load
from adamantine.backends.cpu.kernel.arguments import SAMPLED, SUMS

SAMPLES = 64
"""Elements of a chunk that are looked at one by one; of a large one fewer, for each is a wait."""

LARGE, SAMPLES_OF_LARGE = 4_096, 16


@intrinsic
def plus(typingctx, total, x):
    """The sum, in any order: otherwise the loop around it would not be vectorised."""

    def codegen(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=("reassoc", "contract"))

    return total(total, total), codegen


def nothing(zero):
    """Sums of no elements."""
    raise NotImplementedError("only inside compiled code")


@overloads(nothing)
def _nothing(zero):
    return lambda zero: (zero, zero, zero)


def after(held, i, result):
    """What element `i` of a parameter is now that `result` has been written to it.

    `held` are the tensors that hold it, one or two, and so are what is returned.
    """
    raise NotImplementedError("only inside compiled code")


@overloads(after)
def _after(held, i, result):
    if len(held) == 1 and held[0].dtype in (types.float32, types.float64):
        return lambda held, i, result: (result,)  # as it is: no need to read it again
    return lambda held, i, result: load(held, i)


def added(sums, before, grad, now):
    """`sums` with one element's: its gradient, and what it was and is."""
    raise NotImplementedError("only inside compiled code")


@overloads(added)
def _added(sums, before, grad, now):
    def implementation(sums, before, grad, now):
        update = now - before
        return (
            plus(sums[0], grad * grad),
            plus(sums[1], update * update),
            plus(sums[2], now * now),
        )

    return implementation


@njit_called
def _stride(length):
    # Odd, or every sample of a matrix with an even number of columns might be of the same one.
    return (
        (length // (SAMPLES_OF_LARGE if length >= LARGE else SAMPLES) - 1) | 1
        if length > SAMPLES
        else 1
    )


@njit_called
def leave(words, chunk, sums):
    """Write the sums of a chunk."""
    found = carray(float64_pointer(words[SUMS] + 24 * chunk), 3)
    for i in range(3):
        found[i] = sums[i]


# Compiled for each kernel, which has its own: what an element is, by the one or two numbers that
# are held of it.
NUMBER: Any = None


def look_before(words, chunk, held):
    """Keep some elements of a chunk of parameters as they are before the update."""
    found = carray(float64_pointer(words[SAMPLED] + 8 * SAMPLES * chunk), SAMPLES)
    length = len(held[0])
    stride = _stride(length)
    found[:] = np.nan
    for k in range(min(SAMPLES, length // stride)):
        found[k] = NUMBER(*load(held, k * stride))


def look_after(words, chunk, held, grads):
    """Put in their place how far they went for each unit of their gradient."""
    found = carray(float64_pointer(words[SAMPLED] + 8 * SAMPLES * chunk), SAMPLES)
    length = len(held[0])
    stride = _stride(length)
    for k in range(min(SAMPLES, length // stride)):
        now = NUMBER(*load(held, k * stride))
        found[k] = abs(now - found[k]) / abs(read(grads, k * stride))
