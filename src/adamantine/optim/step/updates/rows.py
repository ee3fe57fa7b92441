"""The part of a step that sparse gradients do: some rows of a parameter, not all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.layout import check_rows, check_sparse, overlapping
from adamantine.backends.missed_steps import MissedSteps
from adamantine.backends.rows import Rows
from adamantine.errors import BackendError
from adamantine.optim.state.precision import Treatment
from adamantine.optim.step.updates.member import Member
from adamantine.optim.step.updates.row_batch import RowBatch, refusal_of_rows, written
from adamantine.optim.usage.hints import BY_AUTOGRAD
from adamantine.rules import Rule
from adamantine.rules.lazy import differs, lazy_scalars
from adamantine.rules.paired import SECONDS

Mode = Literal["lazy", "exact", "dense"]
"""What a sparse gradient stands for. `dense`: a dense one, whose zeros were left out."""

Group = dict[str, Any]
MissedByParameter = dict[Tensor, MissedSteps]


def bring_up_to_date(
    missed_steps: MissedByParameter, param: Tensor, state: Mapping[str, Any], backend: BackendName
) -> None:
    """Let all rows of a parameter do the steps that they missed."""
    missed = missed_steps[param]
    # Who has cleared the state has taken the steps out of it, too.
    if missed.now > 0 and all(name in state for name in missed.rule.states):
        catch_up(missed, param, state, backend)
    missed.restart()


@torch.no_grad()
def catch_up(
    missed: MissedSteps,
    param: Tensor,
    state: Mapping[str, Any],
    backend: BackendName,
    numbers: Tensor | None = None,
) -> None:
    """Let rows of a parameter, all or those numbered, do the steps that they missed."""
    states = [state[name] for name in missed.rule.states]
    if refusal_of_rows([param, *states], backend) is None:
        from adamantine.backends.cpu.rows.row_table import CompiledRows

        waited = CompiledRows(missed.rule, param, states).catch_up(missed, numbers)
    else:
        waited = Rows(missed.rule, param, states, len(missed.shape)).catch_up(missed, numbers)
    if waited:
        torch.autograd.graph.increment_version([param])


class Assignment(NamedTuple):
    """How the rows of a member are updated."""

    mode: Mode
    shape: torch.Size
    batch: RowBatch | None  # None: by torch
    place: int = 0  # in the batch


class RowUpdates:
    """Members of a plan that may have sparse gradients.

    Parameters
    ----------
    members
        Each with its parameter group.
    mode_of
        What a group makes of a sparse gradient; may refuse it.
    missed_steps
        What rows have missed, by parameter; outlives the plan.
    backend
        The optimizer's.

    Attributes
    ----------
    begins
        Whether a member has its first step ahead, where nothing counts steps.
    leaves_some
        Whether :meth:`look` has found gradients that are left to dense updates.
    """

    def __init__(
        self,
        members: Sequence[tuple[Member, Group]],
        mode_of: Callable[[Group], Mode],
        missed_steps: MissedByParameter,
        backend: BackendName,
    ) -> None:
        self.members = members
        self.begins = any(member.fresh for member, _ in members)
        self._mode_of, self._missed_steps, self._backend = mode_of, missed_steps, backend
        self._batches: dict[tuple[Treatment, bool], RowBatch] = {}
        self._assignments: list[Assignment | None] = [None] * len(members)  # made when needed
        self._alone: set[int] | None = None  # see `_apart`
        # What `look` has found, and `release` lets go of.
        self._dense: dict[int, Tensor | None] = {}  # by id of the parameter
        self.leaves_some = False
        self._by_torch: list[tuple[Member, Tensor, bool]] = []
        self._in_step: dict[int, RowBatch] = {}  # by id

    def look(self) -> bool:
        """Read this step's gradients; raise before anything is written if one is unusable.

        False when a state is not what its parameter needs: the plan has to be made anew.
        """
        if self._dense or self.leaves_some:
            self.release()  # the last step broke off
        modes: dict[int, Mode] = {}
        for index, (member, group) in enumerate(self.members):
            param = member.param
            grad = param.grad
            if grad is None:
                continue
            if not grad.is_sparse:
                self.leaves_some = True
                continue
            mode = modes.get(member.group) or modes.setdefault(member.group, self._mode_of(group))
            assignment = self._assignments[index]
            if assignment is None or assignment.mode != mode or grad.shape != assignment.shape:
                # Also where the gradient is unusable.
                _check_member(member, group)
                check_sparse(param, grad)
                assignment = self._assignments[index] = self._assignment_of(member, mode)
                if assignment is None:
                    return False
            if mode == "dense" or grad.sparse_dim() == 0:
                check_sparse(param, grad)
                check_rows(param, grad)
                self._dense[id(param)] = grad.to_dense()
                self.leaves_some = True
                continue
            self._dense[id(param)] = None
            if assignment.batch is not None and type(grad) is Tensor:
                assignment.batch.grads[assignment.place] = grad
                self._in_step[id(assignment.batch)] = assignment.batch
                continue
            if written(member) is None:
                return False
            check_sparse(param, grad)
            check_rows(param, grad)
            self._by_torch.append((member, grad, mode == "exact"))
        return all(batch.look(self._backend) for batch in self._in_step.values())

    def _assignment_of(self, member: Member, mode: Mode) -> Assignment | None:
        """How the rows of a member are updated; None where its states are not what they should."""
        tensors = written(member)
        if tensors is None:
            return None
        shape = member.param.shape
        if mode == "dense" or refusal_of_rows(tensors, self._backend) is not None:
            return Assignment(mode, shape, None)
        if id(member) not in self._apart():
            return Assignment(mode, shape, None)  # shared memory means one update after the other
        key = (member.treatment, mode == "exact")
        if key not in self._batches:
            self._batches[key] = RowBatch(member.rule, exact=mode == "exact")
        batch = self._batches[key]
        return Assignment(mode, shape, batch, batch.add(member))

    def _apart(self) -> set[int]:
        """The members, by id, that share no memory with one before."""
        if self._alone is None:
            found = [(m, tensors) for m, _ in self.members if (tensors := written(m)) is not None]
            shared = overlapping([tensors for _, tensors in found])
            self._alone = {id(m) for place, (m, _) in enumerate(found) if place not in shared}
        return self._alone

    @property
    def are_one_call(self) -> bool:
        """Whether one call of compiled code is all that :meth:`run` writes."""
        if self._by_torch or self._missed_steps or len(self._in_step) != 1:
            return False
        (batch,) = self._in_step.values()
        return batch.is_one_call

    def dense(self, param: Tensor) -> Tensor | None:
        """The gradient that is left to dense updates: None where :meth:`run` does them."""
        return self._dense.get(id(param), param.grad)

    def gradients(self) -> list[tuple[Tensor, Tensor]]:
        """Parameters with the gradients that :meth:`run` is about to read."""
        return [(param, param.grad) for param in self.parameters() if param.grad is not None]

    def parameters(self) -> list[Tensor]:
        """Those whose rows :meth:`run` is about to update."""
        return [
            member.param
            for member, _ in self.members
            if self.dense(member.param) is None and member.param.grad is not None
        ]

    def release(self) -> None:
        """Let go of what :meth:`look` has found."""
        for batch in self._in_step.values():
            batch.release()
        self._dense, self._by_torch, self._in_step = {}, [], {}
        self.leaves_some = False

    def prepare(self) -> None:
        """Bring parameters up to date that are about to get a dense update."""
        if not self._missed_steps:
            return
        for member, _ in self.members:
            if self.dense(member.param) is not None and member.param in self._missed_steps:
                bring_up_to_date(self._missed_steps, member.param, member.state, self._backend)

    def run(
        self,
        scalars_of: Callable[..., Mapping[str, Any]],
        scalars_of_member: Callable[[Member], Mapping[str, Any]],
    ) -> None:
        """Update the rows that this step's sparse gradients touch.

        Parameters
        ----------
        scalars_of
            The scalars of a group, by its number and the counters.
        scalars_of_member
            Those of a member, which counts the step.
        """
        for batch in self._in_step.values():
            exact = batch.exact
            batch.run(
                partial(_lazily, batch.rule, scalars_of)
                if not exact and differs(batch.rule)
                else scalars_of,
                partial(self._missed_of, exact) if exact or self._missed_steps else None,
            )
        for member, grad, exact in self._by_torch:
            self._update_by_torch(member, grad, exact, scalars_of_member)
        self.release()

    @torch.no_grad()
    def _update_by_torch(
        self,
        member: Member,
        grad: Tensor,
        exact: bool,
        scalars_of_member: Callable[[Member], Mapping[str, Any]],
    ) -> None:
        dims = grad.sparse_dim()
        scalars = scalars_of_member(member)
        if not exact:
            scalars = lazy_scalars(member.rule, scalars)
        missed = self._missed_of(exact, member, dims, scalars)
        states = [member.state[name] for name in member.rule.states]
        rows = Rows(member.rule, member.param, states, dims)
        rows.update(grad.detach(), scalars, missed)
        if missed is not None:
            rows.record(missed, scalars)
        torch.autograd.graph.increment_version([member.param])

    def _missed_of(
        self, exact: bool, member: Member, dims: int, scalars: Mapping[str, Any]
    ) -> MissedSteps | None:
        """What the coming step is added to for rows that miss it; none where they do not wait."""
        param, shape = member.param, member.param.shape[:dims]
        missed = self._missed_steps.get(param)
        if missed is not None:
            keeps = exact and missed.shape == shape and missed.rule == member.rule
            if not (keeps and missed.takes(scalars)):
                bring_up_to_date(self._missed_steps, param, member.state, self._backend)
            if keeps:
                return missed
            del self._missed_steps[param]
        if not exact:
            return None
        self._missed_steps[param] = MissedSteps(member.rule, shape, param.device)
        return self._missed_steps[param]


def _lazily(
    rule: Rule, scalars_of: Callable[..., Mapping[str, Any]], *arguments: Any
) -> Mapping[str, Any]:
    return lazy_scalars(rule, scalars_of(*arguments))


def _check_member(member: Member, group: Group) -> None:
    """Raise :class:`BackendError` where a parameter cannot take a sparse gradient.

    It may be its first after dense ones, so this is not looked at before.
    """
    if member.rule.sums is not None:
        what, instead = f"the rule {member.rule.name}", "another optimizer for the embedding"
        if group.get("cautious"):
            what, instead = "cautious=True", "cautious=False for the group of the embedding"
        raise BackendError(
            f"{what} does not go with sparse gradients: it weighs a whole tensor "
            f"in every step; use {instead}"
        )
    if not member.treatment.plain or set(SECONDS) & set(member.rule.states):
        raise BackendError(
            "state_dtype, param_rounding and master do not go with sparse gradients yet: rows "
            "share the scales of blocks; leave them out of the group of the embedding"
        )
    if group.get(BY_AUTOGRAD):
        raise BackendError(
            "differentiable=True does not go with sparse gradients: autograd cannot "
            "record an update of some rows in place; use sparse=False in the layer"
        )
