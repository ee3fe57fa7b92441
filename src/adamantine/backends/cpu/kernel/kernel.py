"""A rule, compiled: one pass over memory, vectorised by LLVM, for all tensors of a table."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import CodeType, FunctionType
from typing import Any, Protocol, cast

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from numba.np.unsafe.ndarray import to_fixed_tuple

from adamantine.backends.cpu.compiling.compile_lock import compile_lock
from adamantine.backends.cpu.compiling.decorators import OPTIONS, njit_called, sources
from adamantine.backends.cpu.compiling.elements import (
    ELEMENTS,
    from_bfloat16,
    from_float16,
    to_bfloat16,
    to_float16,
)
from adamantine.backends.cpu.compiling.memory import (
    addresses_at,
    arrays_at,
    float64_pointer,
    int64_pointer,
    load,
    store,
)
from adamantine.backends.cpu.kernel.arguments import (
    ADDRESSES,
    BOUNDS,
    CHUNKS,
    COLUMNS,
    COUNTERS,
    PLACES,
    ROWS,
    STEP_SCALARS,
    STREAMS,
    VALUES,
    WORDS,
)
from adamantine.backends.cpu.kernel.codes import OPERATIONS as OF_CODECS
from adamantine.backends.cpu.kernel.codes import (
    close,
    consumer_of,
    key_of,
    opened,
    sample_of,
    scratch_bytes,
    stack,
    store_rounded,
    streams_after,
    streams_at,
    working,
)
from adamantine.backends.cpu.kernel.factored import (
    TERM_OF,
    _sum_along,
    _sum_factored,
    _update_factored,
)
from adamantine.backends.cpu.kernel.step_statistics import (
    added,
    after,
    leave,
    look_after,
    look_before,
    nothing,
)
from adamantine.backends.cpu.kernel.sums import BY_KIND, PART, PARTS, leave_sums, no_sums
from adamantine.backends.formats import Format
from adamantine.codecs.blocks import BLOCK
from adamantine.rules import Factor, Rule, Sums, bind
from adamantine.rules.arrangement import Arrangement, arrangements


class Kernel(Protocol):
    """A compiled rule."""

    address: int


SIGNATURE = types.void(types.int64, types.int64)
"""Address of the :mod:`arguments <.arguments>`, number of the piece."""

# Replaced by `specialised` for each kernel; here so that the loops below read as what they are.
FORMULA: Any = None
EACH_CHUNK: Any = None
ARRAYS: int = 0
SCALARS: int = 0
SAMPLES: Any = None
WORKING: Any = None
NUMBER: Any = None
GRADIENT: Any = None
HELD: Any = None
SECOND: int = 0
READ: int = 0
CONSUMERS: Any = None
SCRATCH: int = 0
OPEN: int = 0
COMPUTE: Any = None
ZERO_GRADS: bool = False
COLLECT_STATS: bool = False
ADDED: Any = None
TERMS: Any = ()

ZERO, ONE = np.float32(0), np.float32(1)
BYTE = np.uint8(0)


def _run_piece(arguments, piece):
    words = carray(int64_pointer(arguments), WORDS)
    bounds = carray(int64_pointer(words[BOUNDS]), piece + 2)
    chunks = carray(int64_pointer(words[CHUNKS]), (bounds[piece + 1], 3))
    for chunk in range(bounds[piece], bounds[piece + 1]):
        tensor, offset, length = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        row = carray(int64_pointer(words[ROWS] + 8 * tensor), 1)[0]
        if row < 0:
            continue
        step_scalars = carray(float64_pointer(words[STEP_SCALARS] + 8 * SCALARS * row), SCALARS)
        columns = carray(int64_pointer(words[ADDRESSES] + 8 * words[COLUMNS] * tensor), READ)
        pointers = to_fixed_tuple(columns, READ)
        own = to_fixed_tuple(step_scalars.astype(COMPUTE), SCALARS)
        if COLLECT_STATS:
            held = arrays_at(pointers[:1] + pointers[SECOND:ARRAYS], HELD, offset, length)
            look_before(words, chunk, held)
        EACH_CHUNK(words, tensor, chunk, offset, length, pointers, own)
        if COLLECT_STATS:
            held = arrays_at(pointers[:1] + pointers[SECOND:ARRAYS], HELD, offset, length)
            (grad,) = arrays_at(pointers[1:2], GRADIENT, offset, length)
            look_after(words, chunk, held, grad)
        if ZERO_GRADS:
            (grad,) = arrays_at(pointers[1:2], GRADIENT, offset, length)  # still in the cache
            for i in range(length):
                grad[i] = 0


def _update(words, tensor, chunk, offset, length, pointers, own):
    arrays = arrays_at(pointers, SAMPLES, offset, length)
    # Slices count references: not in the loop, which would not be vectorised then.
    written, held = (arrays[0],) + arrays[2:], arrays[:1] + arrays[SECOND:]
    sums = nothing(COMPUTE(0))
    for i in range(length):
        given = load(arrays, i)
        results = FORMULA(*(given + own))
        store(written, i, results)
        if COLLECT_STATS:
            before = NUMBER(*(given[:1] + given[SECOND:]))
            now = NUMBER(*after(held, i, results[0]))
            sums = added(sums, before, given[1], now)
    if COLLECT_STATS:
        leave(words, chunk, sums)


def _update_coded(words, tensor, chunk, offset, length, pointers, own):
    memory = stack(SCRATCH)
    scratch = memory + ((pointers[0] + 2048 - memory) & 4032)
    counters = carray(float64_pointer(words[VALUES] + 8 * words[COUNTERS] * tensor), 1)
    stream = carray(int64_pointer(words[STREAMS] + 8 * tensor), 1)[0]
    key = key_of(np.uint32(stream), np.uint32(np.int64(counters[0]) + 1))
    # Of a tensor that is spread over processes, elements are numbered in the whole.
    moved = carray(int64_pointer(words[PLACES] + 8 * chunk), 1)[0] - offset
    sums = nothing(ZERO)
    for start in range(offset, offset + length, OPEN):
        stretch = min(OPEN, offset + length - start)
        addresses = addresses_at(pointers[:ARRAYS], SAMPLES, start)
        exponents = addresses_at(pointers[ARRAYS:], BYTE, start // BLOCK)
        arrays = opened(addresses, SAMPLES, exponents, stretch)
        held = arrays[:1] + arrays[SECOND:]
        written = working((arrays[0],) + arrays[2:], scratch, stretch)
        streams = streams_at(key, start + moved)
        for i in range(stretch):
            given = load(arrays, i)
            results = FORMULA(*(given + own))
            store_rounded(written, i, results, WORKING, CONSUMERS, streams)
            streams = streams_after(streams)
            if COLLECT_STATS:
                before = NUMBER(*(given[:1] + given[SECOND:]))
                now = NUMBER(*after(held, i, results[0]))
                sums = added(sums, before, given[1], now)
        kept, samples = (addresses[0],) + addresses[2:], (SAMPLES[0],) + SAMPLES[2:]
        close(kept, samples, exponents, scratch, stretch, key, start + moved, CONSUMERS)
    if COLLECT_STATS:
        leave(words, chunk, sums)


def _sum(words, tensor, chunk, offset, length, pointers, own):
    for part in range(0, length, PART):
        end = offset + min(part + PART, length)
        sums = no_sums(TERMS)
        for start in range(offset + part, end, OPEN):
            stretch = min(OPEN, end - start)
            addresses = addresses_at(pointers[:ARRAYS], SAMPLES, start)
            exponents = addresses_at(pointers[ARRAYS:], BYTE, start // BLOCK)
            arrays = opened(addresses, SAMPLES, exponents, stretch)
            for i in range(stretch):
                sums = ADDED(sums, FORMULA(*(load(arrays, i) + own)))
        leave_sums(words, (chunk * PARTS + part // PART) * len(TERMS), sums)


def _alone(param):
    return param


def _signum(x):
    return ONE if x > ZERO else -ONE if x < ZERO else x


def _maximum(x, y):
    return x if x > y or x != x else y


def _where(condition, x, y):
    return x if condition else y


def _as_bfloat16(x):
    return from_bfloat16(to_bfloat16(np.float32(x)))


def _as_float16(x):
    return from_float16(to_float16(np.float32(x)))


@cache
def operations() -> dict[str, Any]:
    """What the names of `rules.ops` and `codecs.ops` stand for here."""
    return {
        **OF_CODECS,
        "sqrt": math.sqrt,
        "absolute": math.fabs,
        "as_bfloat16": njit_called(_as_bfloat16),
        "as_float16": njit_called(_as_float16),
        "signum": njit_called(_signum),
        "maximum": njit_called(_maximum),
        "where": njit_called(_where),
    }


@cache
def compiled(
    rule: Rule, formats: tuple[Format, ...], zero_grads: bool = False, collect_stats: bool = False
) -> Kernel:
    """The kernel of `rule` for a parameter and states in these formats.

    With `zero_grads` it leaves zeros as gradients; with `collect_stats` it fills ``SUMS`` and
    ``SAMPLED`` (:mod:`.step_statistics`).

    From the disk cache, or compiled (about a second) and cached there.

    It is a C function of `SIGNATURE` at the object's ``address``, for :mod:`.parallel` to call.

    Numba files a cached function under its name and checks the age of its source file only. The
    digest in the name covers the rest: the rule, all it calls, and this backend's files.
    """
    what = (rule.states, formats, zero_grads, collect_stats)
    name = name_of(rule.name, formats, digest(what, rule.update))
    return compile_kernel(updating(rule, formats, name, zero_grads, collect_stats))


@cache
def compiled_sums(
    sums: Sums, formats: tuple[Format, ...], arranged: Arrangement | None = None
) -> Kernel:
    """The kernel that makes `sums`, whose first arguments are tensors in these formats.

    Where some are for rows and columns, these are not counted: they are `arranged`. It leaves the
    sums of every part of a chunk in ``FOUND``.
    """
    name = name_of(sums.of.__name__, formats, digest((formats, sums.kind, arranged), sums.of))
    return compile_kernel(summing(sums, formats, name, arranged))


@cache
def compiled_along(factor: Factor, formats: tuple[Format, ...]) -> Kernel:
    """The kernel that makes sums along rows and columns of what `factor` is of.

    Its first arguments are tensors in these formats. It goes through ``UNITS``.
    """
    name = name_of(
        f"{factor.of.__name__}_along", formats, digest((formats, factor.kind), factor.of)
    )
    return compile_kernel(summing_along(factor, formats, name))


def updating(
    rule: Rule,
    formats: tuple[Format, ...],
    name: str,
    zero_grads: bool = False,
    collect_stats: bool = False,
) -> FunctionType:
    """The loop with `rule` in its middle, under a name of its own; not compiled yet."""
    each_chunk = _update if all(f.plain for f in formats) else _update_coded
    param, *states = formats
    tensors = (param, Format(param.dtype), *states)  # a gradient is as its parameter
    switches: dict[str, Any] = {"ZERO_GRADS": zero_grads, "COLLECT_STATS": collect_stats}
    if rule.factors:
        arranged = arrangements(rule)
        assert arranged is not None, "tables refuse it"
        each_chunk = _update_factored
        switches |= arranged[0].switches()
    if rule.joined is not None:
        switches |= {
            "NUMBER": bind(rule.joined, operations(), njit_called),
            "SECOND": len(tensors) - 1,
        }
    return specialised(each_chunk, rule.update, tensors, len(rule.scalars), name, switches)


def summing(
    sums: Sums, formats: tuple[Format, ...], name: str, arranged: Arrangement | None = None
) -> FunctionType:
    """The loop that makes `sums`, likewise."""
    scalars = len(sums.arguments) - len(formats)
    switches = {"ADDED": BY_KIND[sums.kind], "TERMS": (1.0,) * len(sums.names)}
    if arranged is None:
        return specialised(_sum, sums.of, formats, scalars, name, switches)
    scalars -= len(arranged.rows) + len(arranged.columns)
    switches |= arranged.switches()
    return specialised(_sum_factored, sums.of, formats, scalars, name, switches)


def summing_along(factor: Factor, formats: tuple[Format, ...], name: str) -> FunctionType:
    """The loop that makes sums along rows and columns, likewise."""
    scalars = len(factor.arguments) - len(formats)
    switches = {"TERM": TERM_OF[factor.kind]}
    return specialised(_sum_along, factor.of, formats, scalars, name, switches)


def specialised(
    each_chunk: Callable[..., None],
    element: Callable[..., Any],
    formats: tuple[Format, ...],
    scalars: int,
    name: str,
    switches: Mapping[str, Any] | None = None,
) -> FunctionType:
    """The walk over chunks with `each_chunk` in its middle, and `element` in the middle of that.

    The first arguments of `element` are tensors in these formats, `scalars` scalars follow.
    """
    states = len(formats) - 2
    scope = {
        **globals(),
        **each_chunk.__globals__,
        "FORMULA": bind(element, operations(), njit_called),
        "ARRAYS": len(formats),
        "SCALARS": scalars,
        "SAMPLES": tuple(map(sample_of, formats)),
        # Of what is written, as it is while it is open.
        "WORKING": tuple(
            ELEMENTS[torch.float32].sample if f.coded else sample_of(f)
            for f in (formats[0], *formats[2:])
        ),
        "READ": len(formats) + sum(f.coded for f in formats),  # columns, with exponents
        # The parameter's random bits come after those of all states.
        "CONSUMERS": tuple(map(consumer_of, (states, *range(states)))),
        "SCRATCH": scratch_bytes(formats),
        "OPEN": BLOCK if any(f.coded for f in formats) else sys.maxsize,
        "COMPUTE": np.float64 if formats[0].dtype == torch.float64 else np.float32,
        "GRADIENT": sample_of(Format(formats[0].dtype)),  # and parameter, as they are
        "NUMBER": njit_called(_alone),
        "SECOND": len(formats),
        **(switches or {}),
    }
    held = (Format(formats[0].dtype), *formats[scope["SECOND"] :])
    scope["HELD"] = tuple(map(sample_of, held))
    inlined = njit(inline="always", **OPTIONS)
    scope["EACH_CHUNK"] = inlined(FunctionType(each_chunk.__code__, scope, each_chunk.__name__))
    for look in (look_before, look_after):
        own = {**look.__globals__, "NUMBER": scope["NUMBER"]}
        scope[look.__name__] = inlined(FunctionType(look.__code__, own, look.__name__))
    function = FunctionType(_run_piece.__code__, scope, name)
    function.__qualname__ = name
    return function


def compile_kernel(function: FunctionType, options: Mapping[str, Any] = OPTIONS) -> Kernel:
    """The kernel of a function that :func:`specialised` has made; cached under its name."""
    with compile_lock(function.__name__):
        return cast(Kernel, cfunc(SIGNATURE, cache=True, **options)(function))


def name_of(element: str, formats: tuple[Format, ...], digest: str) -> str:
    """The name of a compiled function, which is that of its file in the cache."""
    kinds = "_".join(dict.fromkeys(map(str, formats)))
    return f"{element}_{kinds}_{digest}"


def digest(what: object, *functions: Callable[..., Any]) -> str:
    """End of a compiled function's name: what it was made of, this backend's files included."""
    hashed = hashlib.sha256(repr((what, OPTIONS)).encode())
    hashed.update(sources().encode())
    for function in functions:
        _hash_function(hashed, function)
    return hashed.hexdigest()[:16]


def _hash_function(hashed: Any, function: Any) -> None:
    code = function.__code__
    step_scalars = [c for c in code.co_consts if not isinstance(c, CodeType)]
    hashed.update(repr((code.co_code, step_scalars, code.co_names, code.co_varnames)).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and name not in operations():
            _hash_function(hashed, value)
        elif isinstance(value, int | float):
            hashed.update(repr((name, value)).encode())
