"""Kernels for a rule and its formats, to be launched with the arrays of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from adamantine.backends.formats import CODES, Format
from adamantine.backends.gpu.kernel.codes import codec_of
from adamantine.backends.gpu.kernel.memory import compute_of, element_of
from adamantine.backends.gpu.kernel.operations import bound
from adamantine.backends.gpu.kernel.squares import (
    SQUARES_ARRAYS,
    TOTALS_ARRAYS,
    squares,
    totals,
)
from adamantine.backends.gpu.kernel.step_statistics import (
    SAMPLE_ARRAYS,
    look_after,
    look_before,
)
from adamantine.backends.gpu.kernel.sums import DECIDE_ARRAYS, SUMS_ARRAYS, decide, sums
from adamantine.backends.gpu.kernel.update import ARRAYS, update
from adamantine.backends.gpu.kernel.vectors import ARRANGED
from adamantine.rules import Rule
from adamantine.rules.arrangement import arrangement

OPTIONS = {"enable_fp_fusion": False}
"""Every product is rounded, as by the reference."""

WARPS = {tl.float32: 4, tl.float64: 8}
"""By what a rule computes in: a thread's part of a tile has room in its registers."""


class Launch:
    """A kernel with its constants: one compilation for each kind of device.

    Parameters
    ----------
    kernel
        Triton's.
    arrays
        The names of its arguments at run time, in order. They say nothing to the compiler but
        their types, so that no number compiles anything anew.
    constants
        Those at compile time, by name.

    Attributes
    ----------
    options
        For the compiler.
    """

    def __init__(self, kernel: Any, arrays: Sequence[str], constants: Mapping[str, Any]) -> None:
        self.kernel, self.arrays, self.constants = kernel, tuple(arrays), dict(constants)
        self.options = {**OPTIONS, "num_warps": WARPS[self.constants.get("COMPUTE", tl.float32)]}
        self._in_order = [self.constants[name] for name in kernel.arg_names[len(self.arrays) :]]
        self._by_device: dict[torch.device, Any] = {}

    def launch(self, programs: int | tuple[int, int], addresses: Tensor, *others: Any) -> None:
        """Start so many programs, on the current device's current stream."""
        grid = (programs, 1, 1) if isinstance(programs, int) else (*programs, 1)
        if not all(grid):
            return
        compiled = self._by_device.get(addresses.device)
        if compiled is not None:
            compiled[grid](addresses, *others, *self._in_order)
            return
        # It would look at all constants each time, for 30 µs. (The interpreter returns None.)
        launched = self.kernel[grid](addresses, *others, **self.constants, **self.options)
        self._by_device[addresses.device] = launched


def _columns(formats: Sequence[Format]) -> list[Format]:
    """What is in a table's columns: parameter, gradient, states, exponents of those with codes."""
    param, *states = formats
    return [param, Format(param.dtype), *states, *(Format(CODES) for s in states if s.coded)]


def _exponents(formats: Sequence[Format]) -> list[int]:
    """For each column before the exponents the one of its own; 0 where it has none."""
    tensors = _columns(formats)[: len(formats) + 1]
    before = [sum(f.coded for f in tensors[:i]) for i in range(len(tensors))]
    return [len(tensors) + n if f.coded else 0 for f, n in zip(tensors, before, strict=True)]


def _of_formats(rule: Rule, formats: Sequence[Format]) -> dict[str, Any]:
    """The constants that say what is in the columns."""
    columns = _columns(formats)
    number = rule.joined
    return {
        "ELEMENTS": tuple(map(element_of, columns)),
        "CODECS": tuple(map(codec_of, columns[: len(formats) + 1])),
        "COMPUTE": compute_of(formats[0]),
        "NUMBER": None if number is None else bound(number),
    }


def _name(element: str, formats: Sequence[Format], *switches: str) -> str:
    return "_".join([element, *dict.fromkeys(map(str, formats)), *filter(None, switches)])


@cache
def compiled(
    rule: Rule, formats: tuple[Format, ...], zero_grads: bool = False, collect_stats: bool = False
) -> Launch:
    """The kernel of `rule` for a parameter and states in these formats; a program a chunk.

    It takes (:data:`~.update.ARRAYS`), of T tensors, C columns, R rows, S scalars:

    - ``addresses`` int64 (T, C): parameter, gradient, states, exponents of states with codes,
    - ``chunks`` int64 (programs, 5): tensor, offset, length, place, first tile
      (:mod:`.memory`),
    - ``rows`` int64 (T,): of the scalars; below 0 a tensor sits the step out,
    - ``keys`` int64 (T,): of the step's random numbers (:func:`adamantine.codecs.noise.key_of`),
    - ``scalars`` float64 (R, S): in the order of ``rule.scalars``,
    - ``decision`` float64 (2,): what ``sign`` is multiplied by, and 0 where nothing is written,
    - ``matrices`` int64 (T, 2 + vectors): where all numbers for rows and columns are
      (:mod:`.vectors`); anything where a rule has none,
    - ``decided`` float64 (T,): instead of the scalar that the rule's sums decide,
    - ``tile_sums`` float64 (tiles, SUMS): with `collect_stats` what :mod:`.step_statistics` says.

    With `zero_grads` it leaves zeros as gradients.
    """
    constants = {
        "NAME": _name(
            rule.name, formats, "zero_grads" * zero_grads, "collect_stats" * collect_stats
        ),
        "RULE": bound(rule.update),
        **_of_formats(rule, formats),
        "EXPONENTS": tuple(_exponents(formats)),
        "SCALARS": len(rule.scalars),
        "SIGN": _sign(rule),
        "DECIDED": -1 if rule.sums is None else rule.scalars.index(rule.sums.scalar),
        "ZERO_GRADS": zero_grads,
        "COLLECT_STATS": collect_stats,
        "ARRANGED": _arranged(rule, (*rule.tensors, *rule.scalars)),
    }
    return Launch(update, ARRAYS, constants)


def _arranged(rule: Rule, arguments: Sequence[str]) -> tuple[int, ...] | None:
    """How a function with these arguments is called; None where none are for rows and columns."""
    found = arrangement(rule, arguments) if rule.factors else None
    if found is None:
        return None
    switches = found.switches()
    return tuple(switches[name] for name in ARRANGED)


def _sign(rule: Rule) -> int:
    return rule.scalars.index("sign") if "sign" in rule.scalars else -1


@cache
def compiled_sums(rule: Rule, formats: tuple[Format, ...]) -> Launch:
    """What makes the sums of `rule`, K of each tile; a program a chunk.

    It takes ``addresses``, ``chunks``, ``rows``, ``scalars`` and ``decision`` as the update does,
    and fills ``tile_sums`` float64 (tiles, K) where a tensor is updated.
    """
    of = rule.sums
    assert of is not None
    full = [name for name in rule.tensors if name not in rule.shapes]
    taken = [full.index(name) for name in of.arguments if name in full]
    columns, exponents = _columns(formats), _exponents(formats)
    of_formats = _of_formats(rule, formats)
    constants = {
        "NAME": _name(f"{rule.name}_{of.of.__name__}", formats),
        "OF": bound(of.of),
        "KIND": of.kind,
        "COUNT": len(of.names),
        "COLUMNS": len(columns),
        "TAKEN": tuple(taken),
        "ELEMENTS": tuple(of_formats["ELEMENTS"][i] for i in taken),
        "CODECS": tuple(of_formats["CODECS"][i] for i in taken),
        "EXPONENTS": tuple(exponents[i] for i in taken),
        "COMPUTE": of_formats["COMPUTE"],
        "SCALARS": len(rule.scalars),
        "OWN": tuple(rule.scalars.index(n) for n in of.arguments if n not in rule.tensors),
        "SIGN": _sign(rule),
        "ARRANGED": _arranged(rule, of.arguments),
    }
    return Launch(sums, SUMS_ARRAYS, constants)


@cache
def compiled_decision(rule: Rule) -> Launch:
    """What makes of sums the scalar that they decide; a program a tensor.

    It takes ``sums`` float64 (T, K) and ``elements`` int64 (T,), both of whole tensors, ``rows``
    and ``scalars``, and fills ``decided`` float64 (T,).
    """
    of = rule.sums
    assert of is not None
    known = [*of.names, "elements", *rule.scalars]
    constants = {
        "NAME": f"{rule.name}_{of.scalar}",
        "VALUE": bound(of.value),
        "COUNT": len(of.names),
        "SCALARS": len(rule.scalars),
        "NEEDED": tuple(map(known.index, of.needed)),
    }
    return Launch(decide, DECIDE_ARRAYS, constants)


@cache
def compiled_squares(dtype: torch.dtype) -> Launch:
    """What sums the squares of each tile of gradients in `dtype`; a program a chunk.

    It takes ``addresses``, the number of its ``columns`` C, ``chunks`` and ``rows``, and fills
    ``tile_sums`` float64 (tiles,).
    """
    kept = Format(dtype)
    constants = {"NAME": _name("squares", [kept]), "ELEMENT": element_of(kept)}
    return Launch(squares, SQUARES_ARRAYS, constants)


@cache
def compiled_totals(count: int) -> Launch:
    """What adds up `count` sums of each tile by tensor, in order; programs (T, count).

    It takes ``tiles`` int64 (T + 1,): where each tensor's begin and the last one's end; ``rows``,
    ``tile_sums`` (tiles, count), and fills ``sums`` float64 (T, count): zeros for tensors that sit
    the step out.
    """
    return Launch(totals, TOTALS_ARRAYS, {"NAME": f"totals_{count}", "COUNT": count})


@cache
def compiled_samples(rule: Rule, formats: tuple[Format, ...]) -> tuple[Launch, Launch]:
    """What looks at some elements before the update, and after it; programs a tensor.

    Both take ``addresses``, ``sizes`` int64 (T,): how many elements each tensor has here;
    ``rows``, ``decision``, and ``samples`` float64 (T, 2, SAMPLES), of which the second leaves
    rates in the first half.
    """
    kinds = _of_formats(rule, formats)

    def launch(kernel: Any, name: str) -> Launch:
        return Launch(kernel, SAMPLE_ARRAYS, {"NAME": _name(rule.name, formats, name), **kinds})

    return launch(look_before, "before"), launch(look_after, "after")
