"""What a step can tell of itself, gathered while it has everything at hand.

For each chunk the sums of the squares of gradient, update and parameter, and for some elements how
far they went for each unit of their gradient. Sums go along in the update's own loop, where a
processor that waits for roots and divisions has time for them.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from adamantine.backends.cpu.compiling.decorators import called, overloads
from adamantine.backends.cpu.compiling.elements import read
from adamantine.backends.cpu.compiling.memory import float64_pointer
from adamantine.backends.cpu.kernel.arguments import SAMPLED, SUMS

SAMPLES = 64
"""Elements of a chunk that are looked at one by one; of a large one fewer, for each is a wait."""

LARGE, SAMPLES_OF_LARGE = 4_096, 16


@intrinsic
def _plus(typingctx, total, x):
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


def after(params, i, result):
    """What element `i` is now that `result` has been written to it."""
    raise NotImplementedError("only inside compiled code")


@overloads(after)
def _after(params, i, result):
    if params.dtype == types.float32 or params.dtype == types.float64:
        return lambda params, i, result: result  # as it is: no need to read it again
    return lambda params, i, result: read(params, i)


def added(sums, given, param):
    """`sums` with one element's, from the rule's arguments and what the parameter is now."""
    raise NotImplementedError("only inside compiled code")


@overloads(added)
def _added(sums, given, param):
    def implementation(sums, given, param):
        update = param - given[0]
        return (
            _plus(sums[0], given[1] * given[1]),
            _plus(sums[1], update * update),
            _plus(sums[2], param * param),
        )

    return implementation


@called
def _stride(length):
    # Odd, or every sample of a matrix with an even number of columns might be of the same one.
    return (
        (length // (SAMPLES_OF_LARGE if length >= LARGE else SAMPLES) - 1) | 1
        if length > SAMPLES
        else 1
    )


@called
def leave(words, chunk, sums):
    """Write the sums of a chunk."""
    found = carray(float64_pointer(words[SUMS] + 24 * chunk), 3)
    for i in range(3):
        found[i] = sums[i]


@called
def look_before(words, chunk, params):
    """Keep some elements of a chunk of parameters as they are before the update."""
    found = carray(float64_pointer(words[SAMPLED] + 8 * SAMPLES * chunk), SAMPLES)
    stride = _stride(len(params))
    found[:] = np.nan
    for k in range(min(SAMPLES, len(params) // stride)):
        found[k] = read(params, k * stride)


@called
def look_after(words, chunk, params, grads):
    """Put in their place how far they went for each unit of their gradient."""
    found = carray(float64_pointer(words[SAMPLED] + 8 * SAMPLES * chunk), SAMPLES)
    stride = _stride(len(params))
    for k in range(min(SAMPLES, len(params) // stride)):
        found[k] = abs(read(params, k * stride) - found[k]) / abs(read(grads, k * stride))
