"""What rules and codecs are made of, in Triton's language; and a rule, bound to it.

``+``, ``-``, ``*`` and square roots are rounded correctly, and so are divisions in float64. A
float32 division on an NVIDIA GPU is ``div.full.f32``: two units in the last place, at worst. Before
3.6, Triton takes the root of a subnormal number for that of zero there.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any

import triton
import triton.language as tl
from triton.runtime.jit import JITFunction

from adamantine.rules import bind

INTERPRETED = not isinstance(tl.cdiv, JITFunction)
"""By ``TRITON_INTERPRET=1``, on the CPU."""


def jit(function: Callable[..., Any]) -> Any:
    """`triton.jit`, for what kernels call.

    In Triton's interpreter it stays a function of Python, which does the same: each call of an
    interpreted one takes a millisecond.
    """
    return function if INTERPRETED else triton.jit(function)


# An `else` after `return` is needed here: Triton compiles one of the two, and types both otherwise.


@jit
def sqrt(x):
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)
    else:
        return tl.sqrt(x)


@jit
def absolute(x):
    return tl.abs(x)


@jit
def signum(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x))


@jit
def maximum(x, y):
    return tl.where((x > y) | (x != x), x, y)


@jit
def to_bfloat16(x):
    """The nearest one, ties to even."""
    return x.to(tl.bfloat16)


@jit
def from_bfloat16(x):
    return x.to(tl.float32)


@jit
def widened(x):
    """The same number, of a bfloat16 in float32."""
    if x.dtype == tl.bfloat16:
        return from_bfloat16(x)
    else:
        return x


@jit
def as_bfloat16(x):
    return from_bfloat16(to_bfloat16(x))


@jit
def as_float16(x):
    return x.to(tl.float16).to(tl.float32)


@jit
def where(condition, x, y):
    return tl.where(condition != 0, x, y)


@jit
def bits(x):
    return tl.cast(x, tl.uint32, bitcast=True)


@jit
def low(i):
    return tl.cast(i, tl.uint32)


@jit
def number(i):
    return tl.cast(tl.cast(i, tl.uint32), tl.float32, bitcast=True)


@jit
def choose(condition, x, y):
    return tl.where(condition, x, y)


def _to_bfloat16_by_bits(x):
    given = bits(x)
    rounded = (given + 0x7FFF + ((given >> 16) & 1)) >> 16
    kept = tl.where(x == x, rounded, (given >> 16) | 0x40)
    return kept.to(tl.uint16).to(tl.bfloat16, bitcast=True)


def _from_bfloat16_by_bits(x):
    return number(low(x.to(tl.uint16, bitcast=True)) << 16)


if INTERPRETED:  # for the interpreter cuts bits off, and takes subnormal numbers for others
    to_bfloat16, from_bfloat16 = _to_bfloat16_by_bits, _from_bfloat16_by_bits


OPERATIONS = {
    "sqrt": sqrt,
    "absolute": absolute,
    "signum": signum,
    "maximum": maximum,
    "as_bfloat16": as_bfloat16,
    "as_float16": as_float16,
    "where": where,
    "bits": bits,
    "low": low,
    "number": number,
    "choose": choose,
}
"""What the names of `rules.ops` and `codecs.ops` stand for here."""


def bound(function: Callable[..., Any]) -> Any:
    """A function of `rules` or `codecs`, for kernels to call."""
    names = tuple(inspect.signature(function).parameters)
    return bind(function, OPERATIONS, lambda copy: _compiled(copy, names))


def _compiled(function: Any, names: tuple[str, ...]) -> Any:
    if INTERPRETED:
        return function
    scope = function.__globals__
    for name in function.__code__.co_names:
        if isinstance(scope.get(name), int | float):
            scope[name] = tl.constexpr(scope[name])
    if not function.__code__.co_flags & inspect.CO_VARARGS:
        return jit(function)
    function.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_ONLY) for n in names])
    compiled = jit(function)
    compiled._unsafe_update_src(_spelled_out(function, names))
    return compiled


def _spelled_out(function: FunctionType, names: tuple[str, ...]) -> str:
    """The source of a function of any arguments, for arguments of these names.

    Before 3.9, Triton calls functions with a number of arguments of their own only.
    """
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(made, ast.FunctionDef)
    assert made.args.vararg is not None
    others = names[len(made.args.args) :]
    packed = ast.parse(f"{made.args.vararg.arg} = ({', '.join(others)},)")
    made.args.args += [ast.arg(name) for name in others]
    made.args.vararg = None
    made.body = [*packed.body, *made.body]
    return ast.unparse(made)
