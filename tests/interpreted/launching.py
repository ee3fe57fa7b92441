"""The arrays that kernels are launched with, for some tensors, as a table makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.backends import codes
from adamantine.backends.formats import Format, exponents_of
from adamantine.backends.gpu.kernel import compiling
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.backends.gpu.kernel.step_statistics import SAMPLES, SUMS
from adamantine.rules import Rule

Tensors = dict[str, Tensor]
"""Parameter, gradient, states and their exponents, by name."""


def int64(numbers: Any, *shape: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64).reshape(*(shape or (-1,)))


def float64(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def tensors_for(
    rule: Rule, formats: Sequence[Format], size: int, seed: int = 0, spread: float = 1.0
) -> Tensors:
    """A parameter, a gradient and states as after some steps."""
    generator = torch.Generator().manual_seed(1_000 * seed + size)

    def random() -> Tensor:
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        return values * torch.exp2(spread * torch.randn(size, generator=generator).double())

    param, *kept = formats
    tensors = {"param": random().to(param.dtype), "grad": random().to(param.dtype)}
    for name, format_ in zip(rule.states, kept, strict=True):
        values = random() * 0.1
        values = values.abs() if name in rule.nonnegative else values
        if format_.coded:
            tensors[name], tensors[exponents_of(name)] = codes.empty_codes(tensors["param"])
            codes.encode(values.float(), tensors[name], tensors[exponents_of(name)], format_.signed)
        elif not format_.dtype.is_floating_point:
            tensors[name] = torch.randint(-128, 128, (size,), dtype=torch.int8, generator=generator)
        elif name in ("compensation", "master"):
            shrunk = torch.finfo(param.dtype).eps / 4 * random()
            rest = shrunk if name == "compensation" else shrunk + tensors["param"].double()
            tensors[name] = rest.to(format_.dtype)
        else:
            tensors[name] = values.to(format_.dtype)
    return tensors


def copied(tensors: Sequence[Tensors]) -> list[Tensors]:
    return [{name: t.clone() for name, t in each.items()} for each in tensors]


class Launched:
    """Some tensors of one rule, and the arrays that say so to its kernels.

    Parameters
    ----------
    rule, formats, tensors
        What is updated. Those without a ``grad`` sit the step out.
    scalars
        A row for each tensor.
    chunk
        Elements of a chunk.
    """

    def __init__(
        self,
        rule: Rule,
        formats: Sequence[Format],
        tensors: Sequence[Tensors],
        scalars: Sequence[Mapping[str, float]],
        chunk: int = 2 * TILE,
        keys: Sequence[int] | None = None,
        decision: tuple[float, float] = (1.0, 1.0),
        places: Sequence[int] | None = None,
    ) -> None:
        self.rule, self.formats, self.tensors = rule, tuple(formats), tensors
        coded = [n for n, f in zip(rule.states, formats[1:], strict=True) if f.coded]
        self._names = [*rule.tensors, *map(exponents_of, coded)]
        self.sizes = [len(each["param"]) for each in tensors]
        places = places or [0] * len(tensors)
        rows, tile, first = [], 0, [0]
        for t, size in enumerate(self.sizes):
            for offset in range(0, size, chunk):
                length = min(chunk, size - offset)
                rows.append((t, offset, length, places[t] + offset, tile))
                tile += -(-length // TILE)
            first.append(tile)
        self.chunks, self.tiles, self._programs = int64(rows, -1, 5), int64(first), len(rows)
        count = len(tensors)
        self.rows = int64([t if "grad" in each else -1 for t, each in enumerate(tensors)])
        self.keys = int64(keys or range(count))
        self.scalars = float64([[row[name] for name in rule.scalars] for row in scalars])
        self.decision = float64(decision)
        self.decided = torch.full((count,), torch.nan, dtype=torch.float64)
        self.tile_sums = torch.full((tile, SUMS), torch.nan, dtype=torch.float64)

    @property
    def addresses(self) -> Tensor:
        zero = torch.empty(0)
        return int64(
            [[each.get(name, zero).data_ptr() for name in self._names] for each in self.tensors],
            len(self.tensors), -1,
        )  # fmt: skip

    def update(self, zero_grads: bool = False, collect_stats: bool = False) -> None:
        compiling.compiled(self.rule, self.formats, zero_grads, collect_stats).launch(
            self._programs, self.addresses, self.chunks, self.rows, self.keys, self.scalars,
            self.decision, self.decided, self.rows, self.tile_sums,
        )  # fmt: skip

    def sums(self) -> Tensor:
        """The rule's sums, which decide its scalar; those over all tensors decide nothing here."""
        assert self.rule.sums is not None
        count = len(self.rule.sums.names)
        by_tile = torch.full((len(self.tile_sums), count), torch.nan, dtype=torch.float64)
        compiling.compiled_sums(self.rule, self.formats).launch(
            self._programs, self.addresses, self.chunks, self.rows, self.scalars, self.decision,
            self.rows, by_tile,
        )  # fmt: skip
        sums = self._totals(by_tile, count)
        if self.rule.shared_sums is not None:
            self.decided = self.scalars[:, self.rule.scalars.index(self.rule.sums.scalar)].clone()
            return sums
        compiling.compiled_decision(self.rule).launch(
            len(sums), sums, int64(self.sizes), self.rows, self.scalars, self.decided
        )
        return sums

    def squares(self) -> Tensor:
        """Of each tensor's gradient."""
        by_tile = torch.full((len(self.tile_sums),), torch.nan, dtype=torch.float64)
        compiling.compiled_squares(self.formats[0].dtype).launch(
            self._programs, self.addresses, len(self._names), self.chunks, self.rows, by_tile
        )
        return self._totals(by_tile, 1)[:, 0]

    def statistics(self) -> Tensor:
        """The sums of :meth:`update`, by tensor."""
        return self._totals(self.tile_sums, SUMS)

    def _totals(self, by_tile: Tensor, count: int) -> Tensor:
        sums = torch.full((len(self.tensors), count), torch.nan, dtype=torch.float64)
        grid = len(self.tensors), count
        compiling.compiled_totals(count).launch(grid, self.tiles, self.rows, by_tile, sums)
        return sums

    def sampled(self, zero_grads: bool = False) -> Tensor:
        """Rates of an update between two looks."""
        samples = torch.full((len(self.tensors), 2, SAMPLES), -1.0, dtype=torch.float64)
        before, after = compiling.compiled_samples(self.rule, self.formats)
        sizes = int64(self.sizes)
        for launch in (before, after):
            launch.launch(
                len(self.tensors), self.addresses, sizes, self.rows, self.decision, samples
            )
            if launch is before:
                self.update(zero_grads)
        return samples[:, 0]
