"""What steps tell of themselves: norms, and how far elements go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamantine.backends.gpu.streams import Readback
from adamantine.optim.step.scaling.gradients import sum_of_squares, values_of
from adamantine.optim.step.sharded import COUNTED
from adamantine.optim.usage.labels import label_at

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLES = 1_024
_TINY = 1e-30
"""A mean of squares below this may be one of float32 squares that are lost."""

PARAM = 2

Measure = Callable[[], "list[ParameterStats]"]

Numbers = NDArray[np.float64] | Tensor
"""Tensors are still on the device that measured."""

Measured = tuple[Tensor, Numbers, Numbers]
"""A parameter, its sums of squares (gradient, update, parameter), and samples of its elements.

A device, of which somebody may ask when gradients are others, adds how many elements of the
gradient are infinite or NaN; with it there are `COUNTED` sums.
"""


@dataclass(frozen=True)
class ParameterStats:
    """One parameter in one step; norms to four digits.

    Parameters
    ----------
    name
        The parameter's name, or its place in the groups.
    elements
        Its number of elements.
    grad_norm
        The norm of its gradient, unscaled and before clipping.
    update_norm
        The norm of its change in the step, rounding included; with a master or compensation, of
        the number that the two tensors hold. For float32 and 16-bit parameters,
        updates of less than 1e-19 are lost, and from 1e19 on the norm is infinite.
    param_norm
        The norm of the parameter after the step.
    update_ratio
        `update_norm` over `param_norm`: about 0.001 is common. If it is far from that of the other
        parameters, so is the learning rate. NaN for a parameter that is zero.
    nonfinite
        The share of its gradient's elements that are infinite or NaN.
    clipped
        The factor by which its gradient was clipped; 1 if it was not.
    learning_rates
        The quantiles :data:`QUANTILES`, over some of its elements, of the distance moved per unit
        of the (clipped) gradient: the learning rate that SGD would have needed. NaN if all
        gradients were zero.
    """

    name: str
    elements: int
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
    unscale: float | Tensor,
    clipped: float | Tensor,
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
    by_param = {param: (sums, samples) for param, sums, samples in on_host(list(measured))}
    factors = float(unscale), float(clipped)
    return [
        _stats_of(param, _name(group, index, position), *by_param[param], *factors)
        for index, group in enumerate(groups)
        for position, param in enumerate(group["params"])
        if param in by_param
    ]


def on_host(
    measured: Sequence[Measured],
) -> list[tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]]:
    """The same as arrays; what is on one device comes at once."""
    params = [param for param, *_ in measured]
    sums, samples = ([row[i] for row in measured] for i in (1, 2))
    return list(zip(params, _arrays(sums), _arrays(samples), strict=True))


def _arrays(column: Sequence[Numbers]) -> list[NDArray[np.float64]]:
    there: dict[torch.device, list[int]] = {}
    for index, numbers in enumerate(column):
        if isinstance(numbers, Tensor):
            there.setdefault(numbers.device, []).append(index)
    found: list[Any] = list(column)
    for indices in there.values():
        together = torch.stack([found[i] for i in indices]).cpu().numpy()
        for row, index in enumerate(indices):
            found[index] = together[row].copy()
    return found


def _stats_of(
    param: Tensor,
    name: str,
    sums: NDArray[np.float64],
    samples: NDArray[np.float64],
    unscale: float,
    clipped: float,
) -> ParameterStats:
    share, grad, found = 0.0, param.grad, float(sums[0])
    if len(sums) == COUNTED and not math.isnan(sums[-1]):
        share = float(sums[-1]) / max(1, (2 if param.is_complex() else 1) * param.numel())
    else:
        if grad is not None and not _is_safe(found, param):
            sums[0] = sum_of_squares([grad])
            share = 0.0 if math.isfinite(found) else _nonfinite_share(grad)
        if not _is_safe(float(sums[PARAM]), param):
            sums[PARAM] = sum_of_squares([param])
    grad_norm, update_norm, param_norm = map(math.sqrt, sums[: COUNTED - 1].tolist())
    rates = _quantiles(samples, unscale * clipped)
    return ParameterStats(
        name=name,
        elements=param.numel(),
        grad_norm=grad_norm * unscale,
        update_norm=update_norm,
        param_norm=param_norm,
        update_ratio=update_norm / param_norm if param_norm else math.nan,
        nonfinite=share,
        clipped=clipped,
        learning_rates=rates,
    )


def _name(group: dict[str, Any], index: int, position: int) -> str:
    names = group.get("param_names", ())
    return str(names[position]) if position < len(names) else label_at(group, index, position)


def _is_safe(total: float, param: Tensor) -> bool:
    """Whether a sum of squares is what it is in float64: none has over- or underflowed float32."""
    return math.isfinite(total) and total >= _TINY * param.numel()


@dataclass
class _Later:
    """A step that was measured on a device, unless that has left it out."""

    measure: Measure
    done: Readback | None
    counted: bool = False

    def was_done(self, waits: bool) -> bool | None:
        """None while nobody knows."""
        if self.done is None:
            return True
        found = self.done.wait() if waits else self.done.arrived()
        return None if found is None else bool(found[1])


class Meter:
    """Which steps are measured, and what the last one of them told.

    Parameters
    ----------
    every
        The first step, and then each so many; 0 for none.

    What a device has measured is read when somebody asks for it.
    """

    def __init__(self, every: int) -> None:
        self._every, self._steps, self._taken = every, 0, 0
        self._stats: list[ParameterStats] = []
        self._later: list[_Later] = []

    @property
    def stats(self) -> list[ParameterStats]:
        """Of the last step that was measured."""
        self._settle()
        return self._stats

    @property
    def taken(self) -> int:
        """How many steps were measured."""
        self._settle()
        return self._taken

    def is_due(self) -> bool:
        """Whether the coming step is to be measured; ask once a step."""
        self._steps += 1
        return self._every > 0 and (self._steps - 1) % self._every == 0

    def take(self, stats: list[ParameterStats]) -> None:
        """Note what a step told."""
        self._settle()
        self._stats = stats
        self._taken += 1

    def take_later(self, measure: Measure, done: Readback | None) -> None:
        """Note a step that will tell; `done` brings a decision over it, if there was one.

        A step that was left out is not measured.
        """
        self._later.append(_Later(measure, done))
        self._count(waits=False)

    def _count(self, waits: bool) -> Measure | None:
        """Count the steps that are known to be done; returns what the last one of them tells."""
        last = None
        for index, later in enumerate(self._later):
            done = later.was_done(waits)
            if done:
                self._taken += not later.counted
                later.counted, last = True, index
        if last is None:
            return None
        measure = self._later[last].measure
        # Nobody will ask for what came before.
        self._later = [
            later for index, later in enumerate(self._later)
            if index == last or (later.was_done(waits=False) is None)
        ]  # fmt: skip
        return measure

    def _settle(self) -> None:
        """Read what steps have left on a device."""
        if self._later:
            measure = self._count(waits=True)
            self._stats = self._stats if measure is None else measure()
            self._later = []

    def restart(self) -> None:
        """Begin to count anew, with the next step."""
        self._settle()
        self._steps, self._stats = 0, []

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return self.__dict__.copy()


def _quantiles(samples: NDArray[np.float64], factor: float) -> tuple[float, ...]:
    """Of samples by unit of gradients, for gradients that were multiplied by `factor`."""
    usable = samples[np.isfinite(samples)]
    if not len(usable) or not factor:  # an infinite norm clips to nothing
        return (math.nan,) * len(QUANTILES)
    return tuple(np.quantile(usable / factor, QUANTILES).tolist())


class Watched:
    """A parameter that torch updates, looked at before and after.

    `number` is the number that it is, where the optimizer has more of it than is in `param`.
    """

    def __init__(
        self, param: Tensor, grad: Tensor, number: Callable[[], Tensor] | None = None
    ) -> None:
        self._param, self._number = param, number or param.detach
        self._before = self._number().clone()
        self._grad = grad.detach().to_dense() if grad.is_sparse else grad.detach()

    def measured(self) -> Measured:
        """What the step in between did."""
        after = self._number()
        update = after - self._before
        sums = [sum_of_squares([t]) for t in (self._grad, update, after)]
        # Complex numbers are pairs to a rule, each part with a rate of its own.
        parts = [
            torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
            for t in (update, self._grad)
        ]
        stride = max(1, parts[0].numel() // _SAMPLES)
        moved, grad = (t.reshape(-1)[::stride].cpu().double().abs() for t in parts)
        return self._param, np.array(sums), (moved / grad).numpy()


def _nonfinite_share(grad: Tensor) -> float:
    """The share of elements that are infinite or NaN."""
    if not grad.numel():
        return 0.0
    # A count, not a mean: of a DTensor's uneven shards that would be another number.
    count = (~torch.isfinite(values_of(grad))).sum()
    count = count.full_tensor() if hasattr(count, "full_tensor") else count
    return int(count) / values_of(grad).numel()
