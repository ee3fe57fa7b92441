"""The part of a step that sparse gradients do: some rows of a parameter, not all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from adamantine.backends import BackendName
from adamantine.backends.layout import check_rows
from adamantine.backends.rows import Rows
from adamantine.backends.window import Window
from adamantine.errors import BackendError
from adamantine.optim.choice import BY_AUTOGRAD
from adamantine.rules import Rule
from adamantine.rules.compensated import COMPENSATION
from adamantine.rules.lazy import lazy_scalars

if TYPE_CHECKING:
    from adamantine.backends.cpu.rows import CompiledRows
    from adamantine.optim.plan import Member

Mode = Literal["lazy", "exact", "dense"]
"""What a sparse gradient stands for. `dense`: a dense one, whose zeros were left out."""

Group = dict[str, Any]
Windows = dict[Tensor, Window]


def rows_of(
    rule: Rule, param: Tensor, state: Mapping[str, Any], dims: int, backend: BackendName
) -> Rows | CompiledRows:
    """The rows of a parameter and its states, for the backend that takes them."""
    states = [state[name] for name in rule.states]
    refusal = "for the reference" if backend == "reference" else _refusal([param, *states])
    if refusal is None:
        from adamantine.backends.cpu.rows import CompiledRows

        return CompiledRows(rule, param, states, dims)
    if backend == "cpu":
        raise BackendError(
            f"backend='cpu' updates rows of contiguous tensors in main memory, and a parameter or "
            f"its state is {refusal}; use backend='auto'"
        )
    return Rows(rule, param, states, dims)


def _refusal(tensors: list[Tensor]) -> str | None:
    if not tensors[0].is_cpu:
        return f"on {tensors[0].device}"
    from adamantine.backends.cpu.table import refusal

    # The states have their parameter's shape and device.
    if not all(tensor.is_contiguous() and not tensor.is_neg() for tensor in tensors):
        return "not contiguous"
    if any(tensor.dtype != tensors[0].dtype for tensor in tensors):
        return "of another dtype than its other part"
    return refusal(tensors[0])


def bring_up_to_date(
    windows: Windows, param: Tensor, state: Mapping[str, Any], backend: BackendName
) -> None:
    """Let all rows of a parameter do the steps that they missed."""
    window = windows[param]
    # Who has cleared the state has taken the steps out of it, too.
    if window.now > 0 and all(name in state for name in window.rule.states):
        rows = rows_of(window.rule, param, state, len(window.shape), backend)
        with torch.no_grad():
            if rows.catch_up(window):
                torch.autograd.graph.increment_version([param])
    window.restart()


@dataclass
class RowUpdates:
    """Members of a plan that may have sparse gradients.

    Parameters
    ----------
    members
        Each with its parameter group.
    mode_of
        What a group makes of a sparse gradient; may refuse it.
    windows
        What rows have missed, by parameter; outlives the plan.
    backend
        The optimizer's.
    """

    members: list[tuple[Member, Group]]
    mode_of: Callable[[Group], Mode]
    windows: Windows
    backend: BackendName
    _dense: dict[Tensor, Tensor | None] = field(default_factory=dict)
    _rows: dict[Tensor, Rows | CompiledRows] = field(default_factory=dict)

    def look(self) -> bool:
        """Read this step's gradients; raise before anything is written if one is unusable.

        False when a state is not what its parameter needs: the plan has to be made anew.
        """
        self.release()
        for member, group in self.members:
            param, grad = member.param, member.param.grad
            if grad is None or not grad.is_sparse:
                continue
            _check_member(member, group)
            if not all(_alike(param, member.state.get(name)) for name in member.rule.states):
                return False
            mode = self.mode_of(group)
            check_rows(param, grad)
            if mode == "dense" or grad.sparse_dim() == 0:
                self._dense[param] = grad.to_dense()
            else:
                self._dense[param] = None
                self._rows[param] = rows_of(
                    member.rule, param, member.state, grad.sparse_dim(), self.backend
                )
        return True

    def dense(self, param: Tensor) -> Tensor | None:
        """The gradient that is left to dense updates: None where :meth:`run` does them."""
        return self._dense.get(param, param.grad)

    def gradients(self) -> list[Tensor]:
        """The gradients that :meth:`run` is about to read."""
        return [param.grad for param in self._rows if param.grad is not None]

    def parameters(self) -> list[Tensor]:
        """Those whose rows :meth:`run` is about to update."""
        return list(self._rows)

    def release(self) -> None:
        """Let go of what :meth:`look` has found."""
        self._dense, self._rows = {}, {}

    def prepare(self) -> None:
        """Bring parameters up to date that are about to get a dense update."""
        for member, _ in self.members:
            if self.dense(member.param) is not None and member.param in self.windows:
                bring_up_to_date(self.windows, member.param, member.state, self.backend)

    def run(self, scalars_of: Callable[[Member], Mapping[str, Any]]) -> bool:
        """Update the rows that this step's sparse gradients touch; False where there are none."""
        found = False
        for member, group in self.members:
            param, grad = member.param, member.param.grad
            if grad is None or self.dense(param) is not None:
                continue
            found = True
            exact, scalars = self.mode_of(group) == "exact", scalars_of(member)
            if not exact:
                scalars = lazy_scalars(member.rule, scalars)
            window = self._window(member, grad.sparse_dim(), scalars, exact)
            rows = self._rows[param]
            with torch.no_grad():
                rows.update(grad.detach(), scalars, window)
                if window is not None:
                    rows.record(window, scalars)
            # Compiled code writes behind autograd's back.
            torch.autograd.graph.increment_version([param])
        self.release()
        return found

    def _window(
        self, member: Member, dims: int, scalars: Mapping[str, Any], exact: bool
    ) -> Window | None:
        """The window that the coming step belongs to; none in lazy mode."""
        param, shape = member.param, member.param.shape[:dims]
        window = self.windows.get(param)
        if window is not None:
            keeps = exact and window.shape == shape and window.rule == member.rule
            if not (keeps and window.takes(scalars)):
                bring_up_to_date(self.windows, param, member.state, self.backend)
            if keeps:
                return window
            del self.windows[param]
        if not exact:
            return None
        self.windows[param] = Window(member.rule, shape, param.device)
        return self.windows[param]


def _check_member(member: Member, group: Group) -> None:
    """Raise :class:`BackendError` where a parameter cannot take a sparse gradient.

    It may be its first after dense ones, so this is looked at in every step.
    """
    if member.rule.share is not None:
        raise BackendError(
            "cautious=True does not go with sparse gradients: it weighs a whole tensor "
            "in every step; use cautious=False for the group of the embedding"
        )
    if not member.treatment.plain or COMPENSATION in member.rule.states:
        raise BackendError(
            "state_dtype and param_rounding do not go with sparse gradients yet: rows "
            "share the scales of blocks; leave them out of the group of the embedding"
        )
    if group.get(BY_AUTOGRAD):
        raise BackendError(
            "differentiable=True does not go with sparse gradients: autograd cannot "
            "record an update of some rows in place; use sparse=False in the layer"
        )


def _alike(param: Tensor, state: Tensor | None) -> bool:
    """Whether a state is there, and where this parameter needs it."""
    return state is not None and (state.shape, state.device) == (param.shape, param.device)
