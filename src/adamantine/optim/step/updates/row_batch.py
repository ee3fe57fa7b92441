"""Members of a plan whose rows one compiled call updates, and which can be among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.compiling import has
from adamantine.backends.layout import check_rows, check_sparse, overlapping
from adamantine.backends.missed_steps import MissedSteps
from adamantine.backends.modes import observer
from adamantine.errors import BackendError
from adamantine.optim.step.updates.member import Member
from adamantine.rules import Rule

if TYPE_CHECKING:
    from adamantine.backends.cpu.rows.row_table import RowTable


def refusal_of_rows(tensors: Sequence[Tensor], backend: BackendName) -> str | None:
    """Why compiled code does not update the rows of these, or None where it does.

    Raises :class:`BackendError` where only compiled code was asked for.
    """
    refusal = f"for {backend}" if backend in ("reference", "lists") else _unfit(tensors)
    if refusal is not None and backend == "cpu":
        raise BackendError(
            f"backend='cpu' updates rows of contiguous tensors in main memory, and a parameter or "
            f"its state is {refusal}; use backend='auto'"
        )
    return refusal


def _unfit(tensors: Sequence[Tensor]) -> str | None:
    if (seen_by := observer()) is not None:
        return f"seen by {seen_by}, which compiled kernels would bypass"
    if not tensors[0].is_cpu:
        return f"on {tensors[0].device}"
    if tensors[0].is_complex():
        return "complex"
    if not has("numba"):
        return "there, and Numba, which compiles kernels for them, is not (pip install numba)"
    from adamantine.backends.cpu.table.table import refusal

    # The states have their parameter's shape and device.
    if not all(tensor.is_contiguous() and not tensor.is_neg() for tensor in tensors):
        return "not contiguous"
    if any(tensor.dtype != tensors[0].dtype for tensor in tensors):
        return "of another dtype than its other part"
    return refusal(tensors[0])


def is_alike(param: Tensor, state: Tensor | None) -> bool:
    """Whether a state is there, and where this parameter needs it."""
    return state is not None and (state.shape, state.device) == (param.shape, param.device)


def written(member: Member) -> list[Tensor] | None:
    """What an update of a member writes; None where a state is not what its parameter needs."""
    states = [member.state.get(name) for name in member.rule.states]
    if not all(is_alike(member.param, state) for state in states):
        return None
    return [member.param, *(state for state in states if state is not None)]


class RowBatch:
    """Members with one rule and one dtype, and the gradients that they have in this step.

    Parameters
    ----------
    rule, exact
        Theirs; whether rows that a step leaves out wait and catch up later.

    Attributes
    ----------
    grads
        By the members' places; None for one that does not take part.
    """

    def __init__(self, rule: Rule, exact: bool) -> None:
        self.rule, self.exact = rule, exact
        self._members: list[Member] = []
        self.grads: list[Tensor | None] = []
        self._table: RowTable | None = None  # made when first needed

    def add(self, member: Member) -> int:
        """Take in a member that shares no memory with another; returns its place."""
        self._members.append(member)
        self.grads.append(None)
        self._table = None
        return len(self._members) - 1

    def look(self, backend: BackendName) -> bool:
        """Read the addresses of everything that takes part; raise where a row is not there.

        False where the members no longer belong together: the plan has to be made anew.
        """
        bad = None if self._table is None else self._table.refresh(self.grads)
        if bad is None:
            # Something has moved since the table was made, which another one may suit.
            self._table = self._new_table(backend)
            bad = None if self._table is None else self._table.refresh(self.grads)
        if bad is None:
            return False
        if bad >= 0:
            param, grad = self._members[bad].param, self.grads[bad]
            assert grad is not None
            check_sparse(param, grad)
            check_rows(param, grad)
            raise BackendError(
                f"a sparse gradient of shape {tuple(grad.shape)} has {grad._nnz()} indices and "
                f"values of shape {tuple(grad._values().shape)}; make it by "
                "torch.sparse_coo_tensor(indices, values, shape)"
            )
        return True

    def _new_table(self, backend: BackendName) -> RowTable | None:
        from adamantine.backends.cpu.rows.row_table import RowTable

        tensors = [written(member) for member in self._members]
        found = [t for t in tensors if t is not None and refusal_of_rows(t, backend) is None]
        if len(found) < len(self._members) or overlapping(found):
            return None
        first = self._members[0].treatment
        return RowTable(
            first.rule,
            first.formats[1:],
            [m.param for m in self._members],
            [m.state for m in self._members],
            first.counters,
            [m.fresh for m in self._members],
            [m.group for m in self._members],
            self.exact,
        )

    @property
    def is_one_call(self) -> bool:
        """Whether one call of compiled code is all that :meth:`run` writes."""
        return self._table is not None and self._table.is_one_call

    def run(
        self,
        scalars_of: Callable[..., Mapping[str, Any]],
        missed_of: Callable[[Member, int, Mapping[str, Any]], MissedSteps | None] | None,
    ) -> None:
        """Update the rows; after :meth:`look`.

        `missed_of` is told a member, how many dimensions number its rows, and its scalars; None
        where no row has missed any.
        """
        table = self._table
        assert table is not None
        table.set_step_scalars(scalars_of)
        missed_steps = {}
        if missed_of is not None:
            for place, dims, scalars in table.due():
                missed = missed_of(self._members[place], dims, scalars)
                if missed is not None:
                    missed_steps[place] = missed
        table.run(missed_steps)

    def release(self) -> None:
        """Let go of the gradients."""
        self.grads[:] = [None] * len(self._members)
        if self._table is not None:
            self._table.release()
