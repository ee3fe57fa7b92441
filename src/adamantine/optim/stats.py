"""What steps tell of themselves: norms, and how far elements go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.optim.labels import label_at

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLES = 1_024

Measured = tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]
"""A parameter, its sums of squares (gradient, update, parameter), and samples of its elements."""


@dataclass(frozen=True)
class ParameterStats:
    """One parameter in one step.

    Parameters
    ----------
    name
        The parameter's, or its place in the groups.
    grad_norm
        Of its gradient, unscaled and before clipping.
    update_norm
        Of what the step added to it, after all rounding in float32.
    param_norm
        Its own, after the step.
    update_ratio
        `update_norm` over `param_norm`: about 0.001 is common, and where it is far from that of
        the others, so is the learning rate. NaN for a parameter of zeros.
    nonfinite
        The share of its gradient's elements that are infinite or NaN.
    clipped
        What its gradient was multiplied by to clip it; 1 where nothing was.
    learning_rates
        Of some of its elements, the quantiles :data:`QUANTILES` of how far they went for each unit
        of their (clipped) gradient: the learning rate that SGD would have needed. NaN where no
        gradient was other than zero.
    """

    name: str
    grad_norm: float
    update_norm: float
    param_norm: float
    update_ratio: float
    nonfinite: float
    clipped: float
    learning_rates: tuple[float, ...]


def stats_of(
    groups: Sequence[dict[str, Any]],
    measured: Iterable[Measured],
    unscale: float,
    clipped: float,
) -> list[ParameterStats]:
    """Everything of one step, in the order of the groups.

    Parameters
    ----------
    groups
        The optimizer's.
    measured
        Of the parameters that took part.
    unscale
        What turns gradients as they lie there into those of the loss.
    clipped
        What they were multiplied by besides.
    """
    by_param = {param: (sums, samples) for param, sums, samples in measured}
    found = []
    for index, group in enumerate(groups):
        for position, param in enumerate(group["params"]):
            if param in by_param:
                sums, samples = by_param[param]
                share = 0.0
                if not math.isfinite(sums[0]) and param.grad is not None:
                    share = _nonfinite_share(param.grad)
                    sums[0] = _square(param.grad)  # float32 may have overflowed
                name = label_at(group, index, position).removeprefix("parameter ").strip("'")
                norms = [float(s) ** 0.5 for s in sums]
                found.append(
                    ParameterStats(
                        name=name,
                        grad_norm=norms[0] * unscale,
                        update_norm=norms[1],
                        param_norm=norms[2],
                        update_ratio=norms[1] / norms[2] if norms[2] else math.nan,
                        nonfinite=share,
                        clipped=clipped,
                        learning_rates=_quantiles(samples, unscale * clipped),
                    )
                )
    return found


def _quantiles(samples: NDArray[np.float64], factor: float) -> tuple[float, ...]:
    """Of samples by unit of gradients, for gradients that were multiplied by `factor`."""
    usable = samples[np.isfinite(samples)]
    if not len(usable) or not factor:  # an infinite norm clips to nothing
        return (math.nan,) * len(QUANTILES)
    return tuple(np.quantile(usable / factor, QUANTILES).tolist())


class Watched:
    """A parameter that torch updates, looked at before and after."""

    def __init__(self, param: Tensor, grad: Tensor) -> None:
        self._param, self._before = param, param.detach().clone()
        self._grad = grad.detach().to_dense() if grad.is_sparse else grad.detach()

    def measured(self) -> Measured:
        """What the step in between did."""
        update = self._param.detach() - self._before
        sums = [_square(t) for t in (self._grad, update, self._param.detach())]
        stride = max(1, update.numel() // _SAMPLES)
        pairs = [t.abs().double().reshape(-1)[::stride].cpu() for t in (update, self._grad)]
        return self._param, np.array(sums), (pairs[0] / pairs[1]).numpy()


def _square(values: Tensor) -> float:
    values = values.coalesce().values() if values.is_sparse else values
    kind = torch.complex128 if values.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(values, dtype=kind)) ** 2


def _nonfinite_share(grad: Tensor) -> float:
    """The share of elements that are infinite or NaN."""
    values = grad.detach().coalesce().values() if grad.is_sparse else grad.detach()
    return 1 - float(torch.isfinite(values).double().mean()) if grad.numel() else 0.0
