"""Optimizers' paths over functions of two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adamantine.errors import AdamantineError, NonFiniteError, UsageError
from adamantine.records.trace import TOLERANCE, PathRecord, TraceRecord
from adamantine.study.settings.contestants import Contestant
from adamantine.train import seed_everything
from adamantine.train.diagnosis import failure, is_divergence
from adamantine.train.loop import to_evaluation, to_training
from adamantine.workloads.surfaces import Point, Surface

RATES = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 3))
"""Learning rates that are tried: two a decade, from 1e-5 to 30."""
COLUMNS, ROWS = 181, 136


def trace(surface: Surface, contestants: Sequence[Contestant], steps: int) -> TraceRecord:
    """Let every contestant take `steps` steps from the surface's start.

    A learning rate that a contestant does not bring is the best of :data:`RATES`: the one that
    ends closest to the minimum. On a surface without a minimum it is the one that gets lowest
    within the view, which favours steps that are just large enough to cross it.

    Raises
    ------
    UsageError
        `steps` is below 1.
    """
    if steps < 1:
        raise UsageError(f"the number of steps is {steps}, expected at least 1")
    landscape = surface.landscape(COLUMNS, ROWS).tolist()
    return TraceRecord(
        surface=surface.name,
        title=surface.title,
        formula=surface.formula,
        source=surface.source,
        start=surface.start,
        minimum=surface.minimum,
        least=surface.least,
        view=surface.view,
        levels=surface.levels,
        landscape=tuple(map(tuple, landscape)),
        steps=steps,
        rates=RATES,
        paths=tuple(_path(surface, contestant, steps) for contestant in contestants),
    )


def _path(surface: Surface, contestant: Contestant, steps: int) -> PathRecord:
    if "lr" in contestant.settings:
        return _record(surface, contestant, contestant.settings, steps)
    tried = [
        _record(surface, contestant, {**contestant.settings, "lr": rate}, steps) for rate in RATES
    ]
    return min(tried, key=_rank)  # the smallest of equals


def _rank(path: PathRecord) -> float:
    """Lower is better."""
    if path.distance is None:
        return min(path.values[: path.left_view])
    return path.distance if path.left_view is None else math.inf


def _record(
    surface: Surface, contestant: Contestant, settings: Mapping[str, Any], steps: int
) -> PathRecord:
    points = follow(
        surface.value,
        torch.tensor(surface.start, dtype=_dtype(settings)),
        lambda point: contestant.build([("point", point)], settings),
        steps,
        f"{contestant.name} with lr={settings['lr']:g} on {surface.name}",
    )
    left = _left_for_good(points, surface)
    points = points[: None if left is None else left + 1]
    columns = torch.tensor(points, dtype=torch.float64).unbind(1)
    values = surface.value(*columns).tolist()
    reached = (step for step, value in enumerate(values) if value - surface.least <= TOLERANCE)
    return PathRecord(
        name=contestant.name,
        spec=contestant.spec,
        settings=dict(settings),
        lr=float(settings["lr"]),
        lr_given="lr" in contestant.settings,
        points=tuple(points),
        values=tuple(values),
        distance=None if surface.minimum is None else math.dist(points[-1], surface.minimum),
        steps_to_target=next(reached, None),
        left_view=left,
    )


def follow(
    function: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    build: Callable[[nn.Parameter], torch.optim.Optimizer],
    steps: int,
    what: str = "the optimizer",
) -> list[Point]:
    """`start` and the points after each of `steps` steps, computed in its dtype.

    It ends early at a point that is not finite, which is also where an optimizer goes that raises
    an exception because of such numbers.

    Raises
    ------
    AdamantineError
        The optimizer failed otherwise.
    """
    seed_everything(0)  # for optimizers that draw random numbers
    point = nn.Parameter(start.clone())
    optimizer, holder = build(point), nn.ParameterList([point])
    to_training(optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(*point)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    x, y = start.tolist()
    points = [(x, y)]
    for _ in range(steps):
        try:
            optimizer.step(closure)  # type: ignore[arg-type]
        except Exception as error:
            if isinstance(error, AdamantineError) and not isinstance(error, NonFiniteError):
                raise
            if not is_divergence(error, holder):
                raise failure(error, f"{what}, in step {len(points)},") from error
            points.append((math.nan, math.nan))
            break
        to_evaluation(optimizer)
        x, y = point.tolist()
        to_training(optimizer)
        points.append((x, y))
        if not (math.isfinite(x) and math.isfinite(y)):
            break
    return points


def _dtype(settings: Mapping[str, Any]) -> torch.dtype:
    """float64, unless states are to be kept in fewer bits, which it does not allow."""
    return torch.float64 if settings.get("state_dtype") is None else torch.float32


def _left_for_good(points: Sequence[Point], surface: Surface) -> int | None:
    """The first step of those at the end that are all outside of the view."""
    left, right, bottom, top = surface.view
    inside = [
        step for step, (x, y) in enumerate(points) if left <= x <= right and bottom <= y <= top
    ]
    return None if inside[-1] == len(points) - 1 else inside[-1] + 1
