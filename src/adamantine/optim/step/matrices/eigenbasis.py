"""SOAP's: gradients in the eigenbasis of what their rows and columns have been like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adamantine.optim.step.matrices.between import Between
from adamantine.optim.usage.matrices import flat_shape

EPS = 1e-30
"""What the authors' code adds to a matrix before it looks for eigenvectors."""


class Eigenbasis(Between):
    """The first update reads gradients in the basis, and what it finds is turned back.

    Each member has matrices of its own for that, so they are multiplied one member at a time:
    stacking them would take longer than what it saves. The memory of directions has the turned
    gradients first; an update of elements reads each before it writes there.
    """

    turns = True

    def gradients(self, grads: list[Any]) -> list[Any]:
        """Directions, where :meth:`begin` is going to put the gradients."""
        return [None if g is None else d for g, d in zip(grads, self.slices, strict=True)]

    def begin(self, grads: Sequence[Any]) -> None:
        """Turn the gradients."""
        for index, grad in enumerate(grads):
            if grad is not None:
                self._write(index, _into(self._matrices(index, grad), *self._bases(index)))

    def make(
        self,
        taking_part: Sequence[bool],
        decision: Tensor | None,
    ) -> None:
        """Turn the directions back."""
        assert decision is None, "the host decides, since it has to know the count"
        for index, takes_part in enumerate(taking_part):
            if takes_part:
                found = self._matrices(index, self.slices[index])
                self._write(index, _out_of(found, *self._bases(index)))

    def end(self, grads: Sequence[Any], factor: float) -> None:
        """Take in the gradients, and look for the basis anew where it is time."""
        settings = self.settings
        beta = settings.get("shampoo_beta")
        beta = settings["betas"][1] if beta is None else beta
        for index, grad in enumerate(grads):
            if grad is None:
                continue
            matrices = self._matrices(index, grad)
            state = self.members[index].state
            share = (1 - beta) * factor**2
            for name, given in zip(("L", "R"), (matrices, matrices.mT), strict=True):
                kept = state[name]
                if kept.numel():
                    kept = kept.view(len(given), *kept.shape[-2:])
                    kept.baddbmm_(given, given.mT, beta=beta, alpha=share)
            step = int(state["step"])
            if step == 1:
                self._begin_basis(state)
            elif (step - 1) % settings["precondition_frequency"] == 0:
                self._improve_basis(index, state)

    def _begin_basis(self, state: dict[str, Any]) -> None:
        for name, basis in (("L", "Q_L"), ("R", "Q_R")):
            kept = state[name]
            if not kept.numel():
                continue
            unit = torch.eye(kept.shape[-1], dtype=kept.dtype, device=kept.device)
            # LAPACK would raise for what is no number, and not say whose gradient it was.
            finite = kept.isfinite().all()
            found = torch.linalg.eigh(torch.where(finite, kept + EPS * unit, unit))
            state[basis].copy_(torch.where(finite, found.eigenvectors.flip(-1), float("nan")))

    def _improve_basis(self, index: int, state: dict[str, Any]) -> None:
        """A step of power iteration; both averages follow the basis."""
        exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
        average = _out_of(self._matrices(index, exp_avg), *self._bases(index))
        squares = self._matrices(index, exp_avg_sq)
        for name, basis, dim in (("L", "Q_L", -2), ("R", "Q_R", -1)):
            kept = state[name]
            if not kept.numel():
                continue
            kept, vectors = (x.view(-1, *x.shape[-2:]) for x in (kept, state[basis]))
            values = (vectors * (kept @ vectors)).sum(-2)
            order = values.argsort(-1, descending=True)
            places = order.unsqueeze(-1 if dim == -2 else -2)
            squares = squares.take_along_dim(places, dim)
            vectors = vectors.take_along_dim(order.unsqueeze(-2), -1)
            state[basis].copy_(torch.linalg.qr(kept @ vectors).Q.view(state[basis].shape))
        average = _into(average, *self._bases(index))
        exp_avg.copy_(average.view(exp_avg.shape))
        exp_avg_sq.copy_(squares.reshape(exp_avg_sq.shape))

    def _matrices(self, index: int, tensor: Tensor) -> Tensor:
        """A tensor of a member's shape as matrices, in the dtype that bases are in."""
        dtype = self.members[index].state["L"].dtype
        return tensor.reshape(flat_shape(self.members[index].param, self.settings)).to(dtype)

    def _bases(self, index: int) -> tuple[Tensor, Tensor]:
        state = self.members[index].state
        return state["Q_L"], state["Q_R"]

    def _write(self, index: int, matrices: Tensor) -> None:
        direction = self.slices[index]
        direction.copy_(matrices.view(direction.shape))


def _into(matrices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Matrices in the bases that there are."""
    found = left.mT @ matrices if left.numel() else matrices
    return found @ right if right.numel() else found


def _out_of(matrices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The inverse."""
    found = left @ matrices if left.numel() else matrices
    return found @ right.mT if right.numel() else found
