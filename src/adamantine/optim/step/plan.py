"""Who updates which parameter in a step, and whether that is still true in the next one."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.gpu.streams import Readback
from adamantine.backends.layout import check_gradient
from adamantine.backends.modes import observer
from adamantine.optim.step.interrupts import Uninterrupted
from adamantine.optim.step.matrices.stage import MatrixUpdates
from adamantine.optim.step.members import Members, with_rows
from adamantine.optim.step.scaling.gradients import Gradients
from adamantine.optim.step.sharded import Sharded, parts_of
from adamantine.optim.step.stats import Measured, Watched, on_host
from adamantine.optim.step.totals import decided, shared_sums, totals_of
from adamantine.optim.step.travel import Travel
from adamantine.optim.step.unchanged import Unchanged, covered
from adamantine.optim.step.updates.by_torch import TorchUpdates
from adamantine.optim.step.updates.choice import select_for_kernels, select_for_torch
from adamantine.optim.step.updates.member import Member, Only, Totals
from adamantine.optim.step.updates.rows import MissedByParameter, Mode, RowUpdates
from adamantine.optim.step.updates.scalars import Scalars
from adamantine.optim.step.updates.tables import (
    AnyTable,
    make_tables,
    prepare,
    run,
)
from adamantine.optim.usage.hints import check_hints, refuse_capture, refuse_complex
from adamantine.rules import Family, Sums

Group = dict[str, Any]
_GRAD = operator.attrgetter("grad")
_NOTHING: Mapping[str, Any] = {}

FactorOf = Callable[[Gradients], float | Tensor | None]
"""From a step's gradients to what the update multiplies them by, or None to leave it out. Where a
device decides that, the decision is a tensor there (:class:`.GradientScaling`).
"""


@dataclass(frozen=True)
class _Work:
    """What one step updates, but for rows and matrices."""

    tables: list[AnyTable]
    others: list[tuple[Member, Tensor | None]]
    grad_of: Callable[[Tensor], Any]

    @property
    def holds_any(self) -> bool:
        return bool(self.tables or self.others)


class Plan:
    """The split of an optimizer's parameters between kernels and the reference backend.

    It is made from the live tensors, and kept while :meth:`run` finds every object it was made
    from in its place: the parameters, their state tensors, and the settings that choose a rule; and
    while somebody sees every operation (:func:`observer`) as then, or nobody as then.

    With `may_skip`, steps may be left out: where a device decides that, it counts them as well.

    With `only`, it is for that one parameter, which gets the bits that a plan of all gives it.
    """

    def __init__(
        self,
        family: Family,
        groups: list[Group],
        state: defaultdict[Any, Any],
        backend: BackendName,
        owner: str,
        mode_of: Callable[[Group], Mode],
        missed_steps: MissedByParameter,
        seed: int,
        only: Only | None = None,
        travel: Travel | None = None,
        may_skip: bool = False,
    ) -> None:
        self._family, self._groups, self._state = family, groups, state
        self._owner, self._mode_of, self._only = owner, mode_of, only
        self.zeroed: dict[int, Tensor] = {}  # by id, gradients that it left as zeros
        self.measured: list[Measured] = []
        self.measured_there = False  # whether some of it is still on a device
        self._scalars = Scalars(family, groups)
        self._shared_sums = shared_sums(family, groups)
        self._members = Members(family, groups, state, backend, seed, only, may_skip)
        self._missed_steps, self._backend, self._travel = missed_steps, backend, travel
        self._void, self._may_skip = True, may_skip
        self._tables: list[AnyTable] = []
        self._matrices: MatrixUpdates | None = None
        self._decision: Tensor | None = None

    def make(self) -> None:
        """Look at the tensors, and make the states that are missing.

        Not in the constructor: whoever is interrupted at its end has lost the plan, and with it
        who knows that these states have seen no step.
        """
        groups, only = self._groups, self._only
        try:
            self._observed = observer() is not None
            for index, params in covered(groups, only):
                if not self._family.takes_complex:
                    refuse_complex(params, self._owner)
                check_hints(
                    groups[index], params, self._family, self._owner, self._mode_of, self._backend
                )
            parts = parts_of(covered(groups, only), groups)
            self._sharded = Sharded(parts, groups) if parts else None
            rules = {self._family.rule_of(groups[i], part.whole.shape) for i, part in parts}
            asked = [rule.sums for rule in rules] + [self._shared_sums]
            self._summed = max((len(sums.names) for sums in asked if sums), default=0)
            members = self._members.make(self._sharded, self._shared_sums is None)
            self._rows = self._of_rows(members)
            whose = select_for_kernels(members, groups, self._backend)
            self._kernels_of = {id(m): kernels for m, kernels in zip(members, whose, strict=True)}
            kernels = [m for m in members if self._kernels_of[id(m)]]
            of_rows = set() if self._rows is None else {id(m) for m, _ in self._rows.members}
            of_matrices = {id(m) for m in members if m.rule.matrices is not None}
            elsewhere = of_rows | of_matrices
            self._tables = self._make_tables([m for m in kernels if id(m) not in elsewhere])
            # Where all gradients are sparse, nobody has to wait for another kernel.
            self._later = [m for m in kernels if id(m) in of_rows]
            others = [m for m in members if not self._kernels_of[id(m)]]
            dense = [m for m in others if id(m) not in of_rows]
            in_lists = select_for_torch(dense, groups, self._backend)
            self._matrices = self._of_matrices(members, in_lists) if of_matrices else None
            self._others = [m for m in others if id(m) not in of_matrices]
            in_lists = [m for m in in_lists if id(m) not in of_matrices]
            self._by_torch = TorchUpdates(in_lists, groups, self._family.counters[1:])
            one = len(self._tables) == 1 and len(members) == len(kernels) and not elsewhere
            one = one and self._shared_sums is None  # which settings follow from, too
            self._is_one_table = one and self._tables[0].is_one_call
            self._is_simple = self._is_one_table and self._sharded is None and self._travel is None
            # Tables look at their states themselves, but of DTensors they have the local ones.
            states = [m.state for m in self._others]
            states += [m.state for m in members if id(m) in of_matrices]
            states += [m.state for m in kernels if m.part is not None or m.rule.factors]
            self._unchanged = Unchanged(
                self._family, groups, self._state, only, states, bool(kernels)
            )
            self._void = False
        except BaseException:
            self._break_off()
            raise

    def is_for(self, groups: list[Group], state: defaultdict[Any, Any], may_skip: bool) -> bool:
        """Whether these are the optimizer's groups and state that it was made from.

        And whether it can leave steps out, if the coming one may be.
        """
        may = self._may_skip or not may_skip
        return self._groups is groups and self._state is state and may

    def run(
        self,
        factor_of: FactorOf | None = None,
        zero_grads: bool = False,
        collect_stats: bool = False,
    ) -> bool:
        """Do one step. False, with nothing written, where the plan no longer holds.

        With `zero_grads`, gradients that kernels read are zeros afterwards where :attr:`zeroed` has
        them. With `collect_stats`, :attr:`measured` has what :mod:`.stats` is made of.
        """
        try:
            holds = self._run(factor_of, zero_grads, collect_stats)
        except BaseException:
            # Ctrl-C comes anywhere, between two words that a kernel reads, too.
            self._break_off()
            raise
        if not holds:
            self._break_off()
        return holds

    def _run(self, factor_of: FactorOf | None, zero_grads: bool, collect_stats: bool) -> bool:
        if not self._holds():
            return False
        self.measured, scalars = [], self._scalars
        scalars.factor, scalars.constant = 1.0, self._unchanged.constant
        scalars.shared = self._following = _NOTHING
        self._decision = None
        if self._is_simple and factor_of is None and not zero_grads and not collect_stats:
            return self._run_one_table()
        work = self._work(factor_of is not None)
        if work is None:
            return False
        if factor_of is not None or zero_grads:
            goes_on, zero_grads = self._read_gradients(work, factor_of, zero_grads)
            if not goes_on:
                return True
        watched = self._watch(work) if collect_stats else []
        totals = self._totals(work)
        if self._shared_sums is not None:
            self._decide(self._shared_sums, totals or {})
        self._do(work, zero_grads, collect_stats, totals)
        if collect_stats:
            self._measure(work, watched)
        return True

    def _work(self, whole: bool) -> _Work | None:
        """What the step is going to update; None where the plan no longer holds.

        With `whole`, everything has to be where it is updated before anything is.
        """
        rows, sharded, matrices = self._rows, self._sharded, self._matrices
        if rows is not None and not rows.look():
            return None
        grad_of = _GRAD if rows is None else rows.dense
        if sharded is not None:
            grad_of = sharded.gradients(grad_of)
        tables = self._refreshed(grad_of)
        if tables is None:
            return None
        if self._others:
            refuse_capture((member.param for member in self._others), self._owner)
        others = [(member, grad_of(member.param)) for member in self._others]
        if self._travel is not None:
            self._travel.before([member.param for member in self._others])
            if whole:
                for table in tables:
                    self._travel.before(table.wholes)
        if self._others and not self._by_torch.hold():
            return None
        if matrices is not None and not matrices.refresh(grad_of):
            return None
        for member, grad in others:
            if grad is not None:
                if grad.is_sparse:
                    return None
                check_gradient(self._owner, member.here, grad)
        return _Work(tables, others, grad_of)

    def _refreshed(self, grad_of: Callable[[Tensor], Any]) -> list[AnyTable] | None:
        """The tables with something to do, with this step's gradients; None where one is void."""
        rows, sharded, tables = self._rows, self._sharded, []
        if self._later and rows is not None and rows.leaves_some:
            self._tables += self._make_tables(self._later)
            self._later = []
        for table in self._tables:
            if sharded is None:
                grads = list(map(grad_of, table.wholes))
            else:
                grads = sharded.all_gradients(table.wholes, grad_of)
            if rows is not None and not any(grad is not None for grad in grads):
                continue  # a table of embeddings, with nothing to do
            if not table.refresh(grads):
                return None
            if table.on_device:
                prepare(table, self._scalars, self._owner)
            tables.append(table)
        return tables

    def _read_gradients(
        self, work: _Work, factor_of: FactorOf | None, zero_grads: bool
    ) -> tuple[bool, bool]:
        """Whether the step is done, and whether kernels may write zeros over gradients."""
        rows, matrices = self._rows, self._matrices
        by_torch = [(member.param, grad) for member, grad in work.others if grad is not None]
        by_torch += [] if rows is None else rows.gradients()
        by_torch += [] if matrices is None else matrices.by_torch(work.grad_of)
        tables = work.tables if matrices is None else [*work.tables, *matrices.tables()]
        waits = self._shared_sums is not None
        gradients = Gradients(tables, by_torch, self._sharded, waits)
        factor = None if factor_of is None else factor_of(gradients)
        if factor_of is not None and not self._goes_on(factor):
            return False, zero_grads
        # A device that leaves the step out writes no zeros either.
        may_write_none = self._may_skip and isinstance(factor, Tensor)
        zero_grads = zero_grads and not may_write_none and gradients.are_apart()
        self.zeroed = gradients.of_tables() if zero_grads else {}
        return True, zero_grads

    def _do(
        self, work: _Work, zero_grads: bool, collect_stats: bool, totals: Totals | None
    ) -> None:
        members, rows = self._members, self._rows
        if self._is_one_table and self._travel is None:
            # One compiled call.
            self._run_table(work.tables[0], zero_grads, collect_stats, totals)
            members.created.clear()
        elif rows is not None and rows.are_one_call and not (work.holds_any or self._matrices):
            self._update(work, zero_grads, collect_stats, totals)
        else:
            with Uninterrupted():
                created = members.created.copy()
                members.created.clear()
                self._update(work, zero_grads, collect_stats, totals)
            self._take_back(created)

    def _measure(self, work: _Work, watched: Sequence[Watched]) -> None:
        self.measured = [m for table in work.tables for m in table.measured()]
        self.measured_there = any(table.on_device for table in work.tables)
        self.measured += [w.measured() for w in watched]
        if self._sharded is not None:
            self.measured = [*self._sharded.of_wholes(on_host(self.measured))]
            self.measured_there = False

    def _run_one_table(self) -> bool:
        """The same where nothing else is asked for; a small network's step is counted in µs."""
        (table,) = self._tables
        if not table.refresh(list(map(_GRAD, table.wholes))):
            return False
        self._run_table(table, False, False, None)
        self._members.created.clear()
        return True

    def _take_back(self, created: list[Tensor]) -> None:
        """Forget states that were made for a step that a device has left out.

        A rule without counters has to know which step is a state's first: for that one, the host
        waits.
        """
        if created and self._may_skip and not self._family.counters:
            done = self.was_done()
            if done is not None and not done.wait()[1]:
                self._void, self._members.created = True, created
                self._members.forget()

    def was_done(self) -> Readback | None:
        """Of the last step, on its way from the device that decided it; None where it was."""
        return None if self._decision is None else Readback.of(self._decision)

    def _update(
        self, work: _Work, zero_grads: bool, collect_stats: bool, totals: Totals | None
    ) -> None:
        if self._rows is not None:
            self._rows.prepare()
        for table in work.tables:
            self._run_table(table, zero_grads, collect_stats, totals)
        if work.others:
            self._by_torch.run(work.others, self._scalars, totals)
        if self._matrices is not None:
            self._matrices.run(zero_grads, self._decision)
        if self._travel is not None:
            self._travel.after([member.param for member, _ in work.others])
        if self._rows is not None:
            self._update_rows(self._rows)
        for group in self._groups:
            group.update(self._following)

    def _run_table(
        self, table: AnyTable, zero_grads: bool, collect_stats: bool, totals: Totals | None
    ) -> None:
        if self._travel is not None:
            self._travel.before(table.wholes)
        run(table, self._scalars, zero_grads, collect_stats, totals, self._decision)
        if self._travel is not None:
            self._travel.after(table.wholes)

    def _totals(self, work: _Work) -> Totals | None:
        """Sums over whole tensors, where other processes have parts of them, or all decide."""
        if not self._summed:
            return None
        return totals_of(self._summed, work.tables, work.others, self._scalars, self._sharded)

    def _decide(self, sums: Sums, totals: Totals) -> None:
        """What sums over all parameters decide, for this step and the groups after it."""
        self._following = decided(sums, totals, self._groups, self._scalars)
        self._scalars.shared = {sums.scalar: self._following[sums.scalar]}

    def _watch(self, work: _Work) -> list[Watched]:
        """Those that no table measures, with what they were before."""
        matrices = [] if self._matrices is None else self._matrices.members
        pairs = [*work.others, *((member, work.grad_of(member.param)) for member in matrices)]
        by_torch = [
            Watched(member.here, grad, member.number) for member, grad in pairs if grad is not None
        ]
        rows = [] if self._rows is None else self._rows.parameters()
        return by_torch + [Watched(p, p.grad) for p in rows if p.grad is not None]

    def _goes_on(self, factor: float | Tensor | None) -> bool:
        """Take in what was decided; where the step is left out, everything is as it was before."""
        if isinstance(factor, Tensor):
            self._decision = factor
            return True
        if factor is not None:
            self._scalars.factor = factor
            return True
        self.zeroed = {}
        for table in self._tables:
            table.release()
        if self._rows is not None:
            self._rows.release()
        if self._matrices is not None:
            self._matrices.release()
        self._void = self._void or bool(self._members.created)
        self._members.forget()
        return False

    def _break_off(self) -> None:
        """Void the plan, and forget the states that were made for a step that was not done.

        Zeros with a count of zero may stay, but a rule without counters has to know which step is a
        state's first.
        """
        self._void = True
        if self._family.counters:
            return
        begun = {id(param) for table in self._tables for param in table.begun()}
        self._members.created = [p for p in self._members.created if id(p) not in begun]
        self._members.forget()

    def _holds(self) -> bool:
        if self._void or self._observed is not (observer() is not None):
            return False
        if self._members.have_more():
            return False
        if self._sharded is not None and not self._sharded.hold():
            return False
        return self._unchanged.holds()

    def _of_matrices(self, members: list[Member], in_lists: list[Member]) -> MatrixUpdates:
        return MatrixUpdates(
            [m for m in members if m.rule.matrices is not None],
            self._kernels_of,
            set(map(id, in_lists)),
            self._scalars,
            self._family,
            self._groups,
            self._owner,
        )

    def _of_rows(self, members: list[Member]) -> RowUpdates | None:
        found = with_rows(members, self._groups)
        if not found:
            return None
        return RowUpdates(found, self._mode_of, self._missed_steps, self._backend)

    def _update_rows(self, rows: RowUpdates) -> None:
        if not self._family.counters:
            # Tables note themselves whose first step it was, and members do: tell the other.
            self._void = rows.begins
        rows.run(self._scalars.of_group, lambda member: self._scalars.next(member, False))

    def _make_tables(self, members: list[Member]) -> list[AnyTable]:
        return make_tables(members, self._kernels_of, self._travel, self._owner)
