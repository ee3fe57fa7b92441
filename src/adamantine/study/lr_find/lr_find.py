"""A learning rate to begin with: a range test that holds the rates it tests.

The classical range test raises the learning rate during one short run and reads a number off the
curve of losses (Smith 2015, arXiv:1506.01186, section 3.3). Its curve lags: the loss at a rate is
mostly the work of the rates before it, so that "the steepest point" moves down with every step
that the sweep gets. Here the sweep only says where to look. There, short trainings hold one rate
each, from the same initial weights and over the same batches for every rate, and the suggestion is
read off their progress. ``docs/lr_find.md`` has the measurements.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adamantine import workloads
from adamantine.errors import UsageError, WorkloadError
from adamantine.records import Finding
from adamantine.records.lr_find import Held, LrFindRecord, Spread, Sweep
from adamantine.study.lr_find.curve import (
    GOOD,
    SUGGESTED,
    Numbers,
    diverging,
    falling,
    has_failed,
    is_bracketed_below,
    progress,
    rising,
    smooth,
)
from adamantine.study.lr_find.on_cluster import ClusterRuns
from adamantine.study.lr_find.short_runs import (
    BuildOptimizer,
    OnStep,
    Runs,
    builder_of,
    own_generator,
)
from adamantine.study.runs.ray_pool import check_cluster
from adamantine.study.settings.calls import call
from adamantine.train.machine import machine, versions
from adamantine.train.seeds import check_seed, rng_state, set_rng_state
from adamantine.workloads.data.batches import in_memory
from adamantine.workloads.protocol import Workload

SomeRuns = Runs | ClusterRuns
PER_DECADE = 2
"""Rates that are held are 10 to the power of a whole number of halves."""


def find_learning_rate(
    workload: Workload | str,
    optimizer: str | BuildOptimizer = "adam",
    *,
    settings: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    seeds: int = 5,
    steps: int = 50,
    low: float = 1e-7,
    high: float = 10.0,
    batch_size: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep | None = None,
    data_dir: str | Path | None = None,
    cluster: str | None = None,
) -> LrFindRecord:
    """Find a learning rate by short trainings: a range, its spread over seeds, and a suggestion.

    1. *Sweep*: for each seed one run of ``2 * steps`` steps, its rate growing from `low` to `high`
       by the same factor every step. The lowest point of the median curve says where to begin.
    2. *Hold*: for each seed a training of `steps` steps at that rate, then at its neighbours on a
       grid of half decades: upwards until one makes no more than half of the best progress,
       downwards until one makes less than 90 % of it. A seed has the same initial weights
       and batches at every rate.
    3. *Read*: progress is how far the mean loss of the last quarter lies below the first loss. The
       range is where progress is at least 90 % of the best, and the suggestion is the smallest rate
       with 95 % of it, because a rate that is slightly better in a short training is too large for
       a long one (Wu et al. 2018, arXiv:1803.02021).

    Progress is a ratio of differences, so shifting or scaling the loss changes the suggestion only
    if it changes the trainings.

    Parameters
    ----------
    workload
        Its training data and loss are used; the test set is not read. An object, or a name (see
        :func:`adamantine.workloads.names`) or ``module:attribute``.
    optimizer
        A name such as ``"adam"``, or a function from parameters to an optimizer. Groups keep the
        proportion of their learning rates; the first one's is what is found.
    settings
        Settings of a named optimizer, apart from ``lr``.
    model
        The model to start from. It is copied; its gradients and all global generators are left
        unchanged too. If None, each seed starts from fresh weights.
    seeds
        Runs at each rate, at least 1; each has its own initial weights and order of the data. The
        default costs about 2,000 steps.
    steps
        Of a short training, at least 8.
    low, high
        Ends of the search, ``0 < low < high``, at least two decades apart.
    batch_size
        Examples per step; data that come in batches keep their own.
    seed
        The first seed; the others follow it.
    device
        Where to train, unless `model` is given: then its own device is used.
    on_step
        Called after every step. An exception raised here stops the search.
    data_dir
        As for :func:`adamantine.workloads.load`.
    cluster
        ``"ray"`` or ``"ray://HOST:PORT"``: the seeds of a rate are tasks of a Ray cluster, with as
        many threads each as torch has here. Needs names for workload and optimizer.

    Raises
    ------
    UsageError
        An argument is out of its range, or the optimizer has no learning rate.
    WorkloadError
        No learning rate brings the loss down beyond its noise.
    AdamantineError
        A run failed without diverging.

    Examples
    --------
    >>> from adamantine import workloads
    >>> found = find_learning_rate(workloads.load("digits"), "adam", seeds=2, steps=20)
    >>> found.low.value < found.suggestion.value < found.high.value
    True
    """
    check_search(seeds, steps, low, high, seed)
    check_cluster(cluster)
    if cluster is not None and not (
        isinstance(workload, str) and isinstance(optimizer, str) and model is None
    ):
        raise UsageError(
            "cluster needs a workload and an optimizer that other processes can load: give their "
            "names instead of objects, and no model"
        )
    builder, name = builder_of(optimizer, settings), str(workload)
    if isinstance(workload, str):
        workload = workloads.load(workload, data_dir)
    runs: SomeRuns = Runs(workload, builder, model, batch_size, device, on_step)
    if cluster is not None:
        runs = ClusterRuns(
            cluster, name, data_dir, str(optimizer), settings, batch_size, device, on_step
        )
    which = range(seed, seed + seeds)
    with closing(runs), _generators_kept(workload):
        rates = np.geomspace(low, high, 2 * steps).tolist()
        swept = np.array(runs.run_all("sweep", which, rates))
        if not np.isfinite(swept[:, 0]).all():
            raise WorkloadError("the loss is not finite before the first step: look at the data")
        smoothed = smooth(rates, swept)
        held = _hold(runs, which, steps, (low, high), rates[int(smoothed.argmin())])
    starts, grid = swept[:, 0], np.array(sorted(held))
    ends = np.array([_tail(held[point]) for point in grid])  # of shape (rates, seeds, steps // 4)
    by_seed = progress(starts, ends.mean(axis=2))
    curve = by_seed.mean(axis=1)
    _check_progress(starts, ends[int(curve.argmax())], curve.max())
    at = 10.0 ** (grid / PER_DECADE)
    found = _spread(rising, SUGGESTED, at, curve, by_seed)
    low_end, high_end = (_spread(read, GOOD, at, curve, by_seed) for read in (rising, falling))
    return LrFindRecord(
        workload=workload.name,
        optimizer=runs.optimizer_name,
        settings=dict(settings or {}),
        batch_size=batch_size if in_memory(workload.train) else None,
        seed=seed,
        seeds=seeds,
        steps=steps,
        steps_taken=runs.taken,
        start_loss=float(starts.mean()),
        sweep=Sweep(
            tuple(rates), tuple(tuple(row) for row in swept.tolist()), tuple(smoothed.tolist())
        ),
        held=tuple(
            Held(rate, tuple(means), share)
            for rate, means, share in zip(
                at.tolist(), ends.mean(axis=2).tolist(), (curve / curve.max()).tolist(), strict=True
            )
        ),
        suggestion=found,
        low=low_end,
        high=high_end,
        diverges_at=diverging(at, curve),
        reason=_reason(found.value, at, curve, steps),
        versions=versions(),
        machine=machine(),
        verdict=(_decision(runs.optimizer_name, settings or {}, found, low_end, high_end),),
    )


def _hold(
    runs: Runs | ClusterRuns,
    which: Iterable[int],
    steps: int,
    ends: tuple[float, float],
    start: float,
) -> dict[int, Numbers]:
    """Losses of shape (seeds, steps) by the grid's numbers, from `start` as far as is needed."""
    first = math.ceil(PER_DECADE * math.log10(ends[0]) - 1e-9)
    last = math.floor(PER_DECADE * math.log10(ends[1]) + 1e-9)
    held: dict[int, Numbers] = {}
    curve: dict[int, float] = {}
    point = min(max(round(PER_DECADE * math.log10(start)), first), last)
    while True:
        rate = 10.0 ** (point / PER_DECADE)
        losses = np.array(runs.run_all(f"lr {rate:.2g}", which, [rate] * steps))
        held[point] = losses
        curve[point] = float(progress(losses[:, 0], _tail(losses).mean(axis=1)).mean())
        if max(curve) < last and not has_failed(curve):
            point = max(curve) + 1
        elif min(curve) > first and not is_bracketed_below(curve):
            point = min(curve) - 1
        else:
            return held


def _tail(losses: Numbers) -> Numbers:
    """Of each run the last quarter, where its end is judged."""
    return losses[:, -(losses.shape[1] // 4) :]


def _spread(
    read: Callable[[Numbers, Numbers, float], float],
    share: float,
    rates: Numbers,
    curve: Numbers,
    by_seed: Numbers,
) -> Spread:
    single = [read(rates, own, share) for own in by_seed.T if own.max() > 0]
    return Spread(read(rates, curve, share), min(single), max(single))


def _reason(rate: float, rates: Numbers, curve: Numbers, steps: int) -> str:
    best = float(rates[int(curve.argmax())])
    sentence = (
        f"{rate:.2g} is the smallest learning rate that keeps {SUGGESTED:.0%} of the progress that "
        f"the best one, {best:.2g}, makes in {steps} steps; longer trainings want smaller ones"
    )
    for end, advice in ((0, "lower"), (-1, "higher")):
        if curve[end] >= GOOD * curve.max():
            sentence += f". {rates[end]:.2g}, where the search ends, is still good: search {advice}"
    return sentence


def _decision(
    optimizer: str, settings: Mapping[str, Any], found: Spread, low: Spread, high: Spread
) -> Finding:
    """``Use Adam(lr=0.0026): …``."""
    use = call(optimizer, {"lr": float(f"{found.value:.2g}"), **settings})
    return Finding(
        "decision",
        f"Use {use}: single seeds say {found.least:.2g} to {found.most:.2g}, and rates from "
        f"{low.value:.2g} to {high.value:.2g} work in short trainings.",
    )


def check_search(seeds: int, steps: int, low: float, high: float, seed: int) -> None:
    """Raise :class:`UsageError` unless a search can be made with these numbers."""
    for name, value, least in (("seeds", seeds, 1), ("steps", steps, 8)):
        if value < least:
            raise UsageError(f"{name} is {value}, expected at least {least}")
    if not 0 < low <= high / 100 < math.inf:
        raise UsageError(
            f"learning rates from {low:g} to {high:g}: expected 0 < low < high, at least two "
            "decades apart"
        )
    check_seed(seed)
    check_seed(seed + seeds - 1)


def _check_progress(starts: Numbers, ends: Numbers, best: float) -> None:
    """The first losses are single batches, one a seed: that is how well the start is known."""
    noise = float(np.nanstd(ends)) / math.sqrt(len(starts)) if np.isfinite(ends).any() else 0.0
    if not best > 2 * noise:
        raise WorkloadError(
            f"no learning rate brought the loss ({starts.mean():.4g} at the start) down beyond its "
            "noise: give more steps or seeds, a larger batch, or a wider range; else the model "
            "does not learn, or has learnt already"
        )


@contextmanager
def _generators_kept(workload: Workload) -> Iterator[None]:
    """Puts all global generators back, and the one that a ``DataLoader`` shuffles with."""
    state, own = rng_state(), own_generator(workload)
    own_state = own.get_state() if own else None
    try:
        yield
    finally:
        set_rng_state(state)
        if own is not None and own_state is not None:
            own.set_state(own_state)
