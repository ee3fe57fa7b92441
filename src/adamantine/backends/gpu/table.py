"""The device's pointer table: many tensors that one rule updates in one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.cpu.probe.statuses import GRAD, STAGE
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.formats import PAIRS, Format
from adamantine.backends.gpu import chunks, streams
from adamantine.backends.gpu.arguments import DeviceArguments, HostArguments, Sent
from adamantine.backends.gpu.kernel import compiling
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.backends.gpu.kernel.step_statistics import SAMPLES, SUMS
from adamantine.backends.layout import has_own_dispatch, refusal_of_layout, staged
from adamantine.backends.shards import Part, stretches_of
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


class Table:
    """Tensors on one device, cut into chunks, and the scalars of the groups they belong to.

    Addresses, chunks and scalars lie on the device. A step compares the live addresses with those
    that are there, sends what differs in one asynchronous copy, and launches. Nothing waits for the
    device but the few methods that say so.

    Parameters
    ----------
    rule, formats, params, states, counters, fresh, groups, streams_of_noise, owner, parts
        As for the CPU's :class:`~adamantine.backends.cpu.table.table.Table`.
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
        self._rule, self._params, self._owner = rule, params, owner
        self.device, self.counts_on_device = params[0].device, counts_on_device
        self._has_counters = bool(counters)
        parts = parts or [None] * len(params)
        self.wholes = [p if of is None else of.whole for p, of in zip(params, parts, strict=True)]
        self._parts = [p for p, of in zip(params, parts, strict=True) if of is not None]
        group_numbers = sorted(set(groups))
        indices = np.searchsorted(group_numbers, groups)
        self._probe = TensorProbe(
            params, states, rule.states, formats[1:], counters, indices, not counts_on_device
        )
        if not counters:
            self._probe.values[:, 0] = np.where(fresh, 0.0, 1.0)
        # Complex tensors are memory full of real numbers, two for each of their elements.
        reals = 2 if params[0].is_complex() else 1
        formats = tuple(replace(f, dtype=PAIRS.get(f.dtype, f.dtype)) for f in formats)
        self._formats = formats
        self._cut([reals * p.numel() for p in params], [reals * w.numel() for w in self.wholes],
                  parts)  # fmt: skip
        noisy = not all(f.plain for f in formats)
        kind = DeviceArguments if counts_on_device else HostArguments
        self._arguments = kind(
            rule, counters, group_numbers, self._probe, self._columns(),
            torch.tensor(streams_of_noise, dtype=torch.int64, device="cpu") if noisy else None,
        )  # fmt: skip
        self._sent: Sent | None = None
        self._bytes = np.array([p.nbytes for p in params], np.int64)
        self._decision = torch.tensor(_UNCHANGED, dtype=torch.float64, device=self.device)
        self._grads: list[Any] = []
        self._measured: tuple[Tensor, Tensor] | None = None
        self._own = self._chunks, self._tiles, self._sizes, self._elements, self._decision
        self._made_on = streams.current(self.device)

    def _cut(self, sizes: list[int], of_wholes: list[int], parts: Sequence[Part | None]) -> None:
        chunk = chunks.chunk_elements(sum(sizes), TILE, streams.processors(self.device))
        table = chunks.cut(sizes, stretches_of(parts, self._formats), chunk, TILE)
        tiles = -(-table[:, 2] // TILE)
        edges = np.searchsorted(table[:, 0], np.arange(len(sizes) + 1))
        self._tile_count = int(tiles.sum())
        starts = np.append(table[:, 4], self._tile_count)[edges]

        def there(array: Any) -> Tensor:
            return torch.tensor(array, dtype=torch.int64, device=self.device)

        self._programs, self._chunks, self._tiles = len(table), there(table), there(starts)
        self._sizes, self._elements = there(sizes), there(of_wholes)

    def _columns(self) -> int:
        return 1 + len(self._formats) + sum(f.coded for f in self._formats)

    def refresh(self, grads: list[Any]) -> bool:
        """Read the addresses of everything, with this step's gradients (None for none).

        False when a tensor is no longer what the table was built for: build another. Nothing has
        been written then.
        """
        worst = self._probe.read(grads)
        if worst == STAGE:
            found = staged(self._owner, self._params, grads, self._probe.status == STAGE)
            if found is None:
                return False
            grads = found
            worst = self._probe.read(grads)
        self._grads = grads
        self._sent = None
        return worst < STAGE

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

    def gradients(self) -> list[Tensor]:
        """Those that :meth:`run` is about to read; after :meth:`refresh`, as the next two are."""
        return [grad for grad in self._grads if grad is not None]

    def gradient_spans(self) -> NDArray[np.int64]:
        """Where in the device's memory each of them begins and ends."""
        taking_part = self._probe.rows >= 0
        begin = self._probe.addresses[taking_part, GRAD]
        return np.column_stack([begin, begin + self._bytes[taking_part]])

    def squares(self) -> Tensor:
        """The sums of squares of each of them, float64 ``(T,)`` on the device; 0 without one."""
        with streams.working_on(self.device):
            sent, by_tile = self._prepared(), self._of_tiles(1)
            squares = compiling.compiled_squares(self._formats[0].dtype)
            squares.launch(
                self._programs, sent.addresses, self._columns(), self._chunks, sent.rows, by_tile
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

    def release(self) -> None:
        """Let go of the gradients, where no :meth:`run` follows."""
        self._grads = []

    def sums(self) -> dict[int, list[float]]:
        """For a rule with sums, what they are in each of :attr:`wholes`, by id.

        They are to be added up where others have parts of them; nothing is written. The host waits
        for them.
        """
        if self._rule.sums is None:
            return {}
        with streams.working_on(self.device):
            sums = self._summed(self._prepared(), self._decision, len(self._rule.sums.names))
        return dict(zip(map(id, self.wholes), sums.tolist(), strict=True))

    def _summed(self, sent: Sent, decision: Tensor, count: int) -> Tensor:
        by_tile = self._of_tiles(count)
        sums = compiling.compiled_sums(self._rule, self._formats)
        sums.launch(
            self._programs, sent.addresses, self._chunks, sent.rows, sent.scalars, decision, by_tile
        )
        return self._by_tensor(by_tile, sent.rows)

    def run(
        self,
        zero_grads: bool = False,
        collect_stats: bool = False,
        totals: Mapping[int, Sequence[float]] | None = None,
        decision: Tensor | None = None,
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
        """
        sent = self._prepared()
        decision = self._decision if decision is None else decision
        with streams.working_on(self.device):
            decided = self._decided(sent, decision, totals)
            by_tile = self._of_tiles(SUMS) if collect_stats else sent.scalars
            look_after = self._look(sent, decision) if collect_stats else None
            update = compiling.compiled(self._rule, self._formats, zero_grads, collect_stats)
            update.launch(
                self._programs, sent.addresses, self._chunks, sent.rows, sent.keys, sent.scalars,
                decision, decided, by_tile,
            )  # fmt: skip
            self._arguments.advance(sent, decision)
            if look_after is not None:
                self._measured = self._by_tensor(by_tile, sent.rows), look_after()
        streams.keep(self.gradients(), self.device)
        self._tell_autograd(zero_grads)
        self.release()

    def _tell_autograd(self, zero_grads: bool) -> None:
        """Or a second backward through the old values would pass unnoticed."""
        rows = self._probe.rows
        written = (
            self.wholes
            if self._probe.complete
            else [p for p, row in zip(self.wholes, rows, strict=True) if row >= 0]
        )
        torch.autograd.graph.increment_version(
            [*written, *self._parts, *(self.gradients() if zero_grads else ())]
        )

    def _decided(
        self, sent: Sent, decision: Tensor, totals: Mapping[int, Sequence[float]] | None
    ) -> Tensor:
        """The scalar that the rule's sums decide, by tensor; anything where it has none."""
        if self._rule.sums is None:
            return sent.scalars
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
        arrays = sent.addresses, self._sizes, sent.rows, decision, samples
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
