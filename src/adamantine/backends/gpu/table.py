"""The device's pointer table: many tensors that one rule updates in one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.probe.probed_table import ProbedTable
from adamantine.backends.formats import PAIRS, Format
from adamantine.backends.gpu import chunks, streams
from adamantine.backends.gpu.arguments import DeviceArguments, HostArguments, Sent
from adamantine.backends.gpu.factors import Factors
from adamantine.backends.gpu.kernel import compiling
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.backends.gpu.kernel.step_statistics import SAMPLES, SUMS
from adamantine.backends.layout import has_own_dispatch, refusal_of_layout
from adamantine.backends.shards import Part
from adamantine.backends.step_scalars import ScalarsOf
from adamantine.rules import Rule

DEVICES = ("cuda", "xpu")
"""What torch calls the devices that Triton compiles for; AMD's are called ``cuda``, too."""

ELEMENTS = torch.float32, torch.float64, torch.bfloat16, torch.float16

_UNCHANGED = 1.0, 1.0
"""What gradients are multiplied by, and that the step is done."""


def refusal(param: Tensor) -> str | None:
    """Why this backend cannot update `param`, or None where it can."""
    if has_own_dispatch(param):
        return f"a {type(param).__name__} without memory of its own"
    if not (param.device.type in DEVICES or (param.is_cpu and interpreted())):
        return f"on {param.device}"
    if PAIRS.get(param.dtype, param.dtype) not in ELEMENTS:
        return f"of dtype {param.dtype}"
    return refusal_of_layout(param)


def interpreted() -> bool:
    """Whether Triton interprets kernels, which then work on main memory."""
    return bool(triton.knobs.runtime.interpret)


class Table(ProbedTable):
    """Tensors on one device, cut into chunks, and the scalars of the groups they belong to.

    Addresses, chunks and scalars lie on the device. A step compares the live addresses with those
    that are there, sends what differs in one asynchronous copy, and launches. Nothing waits for the
    device but the few methods that say so.

    Parameters
    ----------
    rule, formats, params, states, counters, fresh, groups, owner, parts
        As for :class:`.ProbedTable`; the parameters are those that :func:`.arrangements` lets pass.
    streams_of_noise
        What the random numbers of each begin with (:func:`adamantine.codecs.noise.stream`).
    counts_on_device
        Whether counters lie on the device, and the host never knows them: for steps that a CUDA
        graph repeats, or of which the device decides whether they are done.
    """

    is_one_call: Literal[False] = False
    on_device: Literal[True] = True

    def __init__(
        self,
        rule: Rule,
        formats: tuple[Format, ...],
        params: list[Tensor],
        states: list[dict[str, Any]],
        counters: Sequence[str],
        fresh: list[bool],
        groups: list[int],
        streams_of_noise: list[int],
        owner: str,
        parts: Sequence[Part | None] = (),
        counts_on_device: bool = False,
    ) -> None:
        super().__init__(
            rule, formats, params, states, counters, fresh, groups, owner, parts,
            reads_counters=not counts_on_device,
        )  # fmt: skip
        self.device, self.counts_on_device = params[0].device, counts_on_device
        self._has_counters = bool(counters)
        self._cut()
        noisy = not all(f.plain for f in self._formats)
        kind = DeviceArguments if counts_on_device else HostArguments
        self._arguments = kind(
            rule, counters, self._groups, self._probe, self._columns(),
            torch.tensor(streams_of_noise, dtype=torch.int64, device="cpu") if noisy else None,
        )  # fmt: skip
        self._sent: Sent | None = None
        self._decision = torch.tensor(_UNCHANGED, dtype=torch.float64, device=self.device)
        self._measured: tuple[Tensor, Tensor] | None = None
        self._factors = Factors(rule, params, states) if rule.factors else None
        self._own = self._chunks, self._tiles, self._elements_here, self._elements, self._decision
        self._made_on = streams.current(self.device)

    def _matrices(self, of: str) -> Tensor:
        """Where kernels find numbers for rows and columns; anything where there are none."""
        return self._chunks if self._factors is None else self._factors.addresses[of]

    def _cut(self) -> None:
        sizes = self._sizes
        chunk = chunks.chunk_elements(sum(sizes), TILE, streams.processors(self.device))
        table = chunks.cut(sizes, self._stretches, chunk, TILE)
        tiles = -(-table[:, 2] // TILE)
        edges = np.searchsorted(table[:, 0], np.arange(len(sizes) + 1))
        self._programs, self._tile_count = len(table), int(tiles.sum())
        starts = np.append(table[:, 4], self._tile_count)[edges]
        self._chunks, self._tiles, self._elements_here, self._elements = (
            torch.tensor(array, dtype=torch.int64, device=self.device)
            for array in (table, starts, sizes, self._sizes_of_wholes)
        )

    def _columns(self) -> int:
        return 1 + len(self._formats) + sum(f.coded for f in self._formats)

    def refresh(self, grads: list[Any]) -> bool:
        """As :class:`.ProbedTable` says; what was sent before is void."""
        self._sent = None
        return super().refresh(grads)

    def prepare(self, scalars_of: ScalarsOf) -> None:
        """Send the step's numbers; after :meth:`refresh`, and before the methods below.

        `scalars_of` gets float64 vectors of counters where `counts_on_device`.
        """
        with streams.working_on(self.device):
            self._sent = self._arguments.send(scalars_of)
            # A graph may outlive this table, and so may what is begun on another stream.
            streams.keep_for_graph(self.device, *self._own)
            streams.keep([*self._own, *self._sent], self.device, self._made_on)

    def _prepared(self) -> Sent:
        assert self._sent is not None, "prepare() comes first"
        return self._sent

    def squares(self) -> Tensor:
        """The sums of squares of each of them, float64 ``(T,)`` on the device; 0 without one."""
        with streams.working_on(self.device):
            sent, by_tile = self._prepared(), self._of_tiles(1)
            squares = compiling.compiled_squares(self._formats[0].dtype)
            squares.launch(
                self._programs,
                sent.addresses,
                self._columns(),
                self._chunks,
                sent.rows,
                by_tile,
            )
            return self._by_tensor(by_tile, sent.rows)[:, 0]

    def sum_of_squares(self) -> float:
        """Of all their elements, in float64; the host waits for it."""
        return float(self.squares().sum())

    def sums_of_squares(self) -> NDArray[np.float64]:
        """The same of each of them; 0 for parameters without one."""
        return self.squares().cpu().numpy()

    def _of_tiles(self, count: int) -> Tensor:
        return torch.empty((self._tile_count, count), dtype=torch.float64, device=self.device)

    def _by_tensor(self, by_tile: Tensor, rows: Tensor) -> Tensor:
        tensors, count = len(self._params), by_tile.shape[1]
        sums = torch.empty((tensors, count), dtype=torch.float64, device=self.device)
        total = compiling.compiled_totals(count)
        total.launch((tensors, count), self._tiles, rows, by_tile, sums)
        return sums

    def sums(self, decision: Tensor | None = None) -> dict[int, list[float]]:
        """For a rule with sums, what they are in each of :attr:`wholes`, by id.

        They are to be added up, where others have parts of them or all decide; nothing is written.
        The host waits for them. `decision` is that of :meth:`run`.
        """
        if self._rule.sums is None or self._factors is not None:
            return {}  # no process has a part of a matrix with factors
        decision = self._decision if decision is None else decision
        with streams.working_on(self.device):
            sums = self._summed(self._prepared(), decision, len(self._rule.sums.names))
        return dict(zip(map(id, self.wholes), sums.tolist(), strict=True))

    def _summed(self, sent: Sent, decision: Tensor, count: int) -> Tensor:
        by_tile = self._of_tiles(count)
        sums = compiling.compiled_sums(self._rule, self._formats)
        sums.launch(
            self._programs,
            sent.addresses,
            self._chunks,
            sent.rows,
            sent.scalars,
            decision,
            self._matrices("sums"),
            by_tile,
        )
        return self._by_tensor(by_tile, sent.rows)

    def run(
        self,
        zero_grads: bool = False,
        collect_stats: bool = False,
        totals: Mapping[int, Sequence[float]] | None = None,
        decision: Tensor | None = None,
        shared: Mapping[str, float] | None = None,
    ) -> None:
        """Update every tensor that has a gradient; :meth:`prepare` comes before, each time.

        Parameters
        ----------
        zero_grads
            Fill the gradients with zeros on the way; no two may share memory then.
        collect_stats
            Let :meth:`measured` have something to say afterwards.
        totals
            Those of :meth:`sums`, added up over processes.
        decision
            Float64 ``(2,)`` on the device: what gradients are multiplied by, and 0 where the step
            is left out.
        shared
            By name, the scalar that sums over all parameters have decided.
        """
        sent = self._prepared()
        decision = self._decision if decision is None else decision
        with streams.working_on(self.device):
            if self._factors is not None:
                self._factors.find(self._grads, sent, decision, self._probe.rows)
            decided = self._decided(sent, decision, totals, shared or {})
            by_tile = self._of_tiles(SUMS) if collect_stats else sent.scalars
            look_after = self._look(sent, decision) if collect_stats else None
            update = compiling.compiled(self._rule, self._formats, zero_grads, collect_stats)
            update.launch(
                self._programs, sent.addresses, self._chunks, sent.rows, sent.keys, sent.scalars,
                decision, decided, self._matrices("update"), by_tile,
            )  # fmt: skip
            if self._factors is not None:
                self._factors.write(decision, self._probe.rows)
            self._arguments.advance(sent, decision)
            if look_after is not None:
                self._measured = self._by_tensor(by_tile, sent.rows), look_after()
        streams.keep(self.gradients(), self.device)
        self._tell_autograd(zero_grads)
        self.release()

    def _decided(
        self,
        sent: Sent,
        decision: Tensor,
        totals: Mapping[int, Sequence[float]] | None,
        shared: Mapping[str, float],
    ) -> Tensor:
        """The scalar that the rule's sums decide, by tensor; anything where it has none."""
        if self._rule.sums is None:
            return sent.scalars
        if self._rule.shared_sums is not None:
            number, count = shared[self._rule.sums.scalar], len(self._params)
            return torch.full((count,), number, dtype=torch.float64, device=self.device)
        count = len(self._rule.sums.names)
        if totals is None:
            sums = self._summed(sent, decision, count)
        else:
            given = [totals[id(whole)][:count] for whole in self.wholes]
            sums = torch.tensor(given, dtype=torch.float64, device=self.device)
        decided = torch.empty(len(sums), dtype=torch.float64, device=self.device)
        decide = compiling.compiled_decision(self._rule)
        decide.launch(len(sums), sums, self._elements, sent.rows, sent.scalars, decided)
        return decided

    def _look(self, sent: Sent, decision: Tensor) -> Callable[[], Tensor]:
        """Look at samples before the update; what is returned does so after it."""
        samples = torch.empty(
            (len(self._params), 2, SAMPLES), dtype=torch.float64, device=self.device
        )
        before, after = compiling.compiled_samples(self._rule, self._formats)
        arrays = sent.addresses, self._elements_here, sent.rows, decision, samples
        before.launch(len(samples), *arrays)

        def look_after() -> Tensor:
            after.launch(len(samples), *arrays)
            return samples[:, 0]

        return look_after

    @property
    def repeats(self) -> bool:
        """Whether what a graph records of a step is right in all later ones, too."""
        return self.counts_on_device or not (self._has_counters or self._probe.values.min() < 1)

    def begun(self) -> list[Tensor]:
        """Those of :attr:`wholes` whose first step is done; for rules without counters."""
        return [p for p, done in zip(self.wholes, self._arguments.begun(), strict=True) if done]

    def measured(self) -> list[tuple[Tensor, Any, Any]]:
        """Of every tensor that took part in the last run: it, its sums and its samples."""
        assert self._measured is not None
        rows, (sums, samples) = self._probe.rows, self._measured
        return [(param, sums[t], samples[t]) for t, param in enumerate(self.wholes) if rows[t] >= 0]
