"""How far some elements of each parameter go for each unit of their gradient.

The sums of squares that a step tells of itself are the update kernel's own. These two kernels look
at the same elements before it and after it; a program a tensor.
"""

from __future__ import annotations

import triton
import triton.language as tl

from adamantine.backends.gpu.kernel.codes import opened
from adamantine.backends.gpu.kernel.memory import GRAD, named, pointer_to
from adamantine.backends.gpu.kernel.operations import jit, widened

SAMPLES = 256
"""Elements of a parameter that are looked at; all of them, if it has no more."""

_SAMPLES = tl.constexpr(SAMPLES)

SUMS = 4
"""That an update leaves of each tile: of squares of gradient, update and parameter, and how many
elements of the gradient are infinite or NaN. The host may ask when the gradient is another one."""

SAMPLE_ARRAYS = ("addresses", "sizes", "rows", "decision", "samples")


@triton.jit(do_not_specialize=SAMPLE_ARRAYS, repr=named)
def look_before(
    addresses, sizes, rows, decision, samples,
    NAME: tl.constexpr, NUMBER: tl.constexpr, ELEMENTS: tl.constexpr, CODECS: tl.constexpr,
    COMPUTE: tl.constexpr,
):  # fmt: skip
    """Keep what they are, and their gradients' magnitudes: the update may put zeros there."""
    tensor = tl.program_id(0).to(tl.int64)
    if (tl.load(rows + tensor) >= 0) & (tl.load(decision + 1) != 0):
        columns = addresses + tensor * len(ELEMENTS)
        places, there = _sampled(tl.load(sizes + tensor))
        number = _numbers(columns, places, there, NUMBER, ELEMENTS, CODECS, COMPUTE)
        grad = tl.load(pointer_to(tl.load(columns + GRAD), ELEMENTS[1]) + places, mask=there)
        kept = samples + tensor * 2 * _SAMPLES + tl.arange(0, _SAMPLES)
        tl.store(kept, number.to(tl.float64))
        tl.store(kept + _SAMPLES, tl.abs(widened(grad).to(tl.float64)))


@triton.jit(do_not_specialize=SAMPLE_ARRAYS, repr=named)
def look_after(
    addresses, sizes, rows, decision, samples,
    NAME: tl.constexpr, NUMBER: tl.constexpr, ELEMENTS: tl.constexpr, CODECS: tl.constexpr,
    COMPUTE: tl.constexpr,
):  # fmt: skip
    """Put in the first one's place how far they went for each unit; NaN where there is none."""
    tensor = tl.program_id(0).to(tl.int64)
    kept = samples + tensor * 2 * _SAMPLES + tl.arange(0, _SAMPLES)
    rates = tl.full((_SAMPLES,), float("nan"), tl.float64)
    if (tl.load(rows + tensor) >= 0) & (tl.load(decision + 1) != 0):
        columns = addresses + tensor * len(ELEMENTS)
        places, there = _sampled(tl.load(sizes + tensor))
        number = _numbers(columns, places, there, NUMBER, ELEMENTS, CODECS, COMPUTE)
        went = tl.abs(number.to(tl.float64) - tl.load(kept))
        rates = tl.where(there, went / tl.load(kept + _SAMPLES), rates)
    tl.store(kept, rates)


@jit
def _sampled(size):
    """The places of the samples, and which of them are there."""
    # Odd, or every sample of a matrix with an even number of columns might be of the same one.
    stride = tl.where(size > _SAMPLES, (size // _SAMPLES - 1) | 1, 1)
    places = tl.arange(0, _SAMPLES) * stride
    return places, places < size


@jit
def _numbers(
    columns, places, there,
    NUMBER: tl.constexpr, ELEMENTS: tl.constexpr, CODECS: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """What the elements are: of a parameter alone, or of it and its last state."""
    held = ()
    for i in tl.static_range(len(CODECS)):
        if i == 0 or (NUMBER is not None and i == len(CODECS) - 1):
            pointer = pointer_to(tl.load(columns + i), ELEMENTS[i])
            elements = tl.load(pointer + places, mask=there)
            held = held + (opened(elements, columns, places, places, CODECS[i], COMPUTE),)
    if NUMBER is None:
        return held[0]
    else:
        return NUMBER(held[0], held[1])
