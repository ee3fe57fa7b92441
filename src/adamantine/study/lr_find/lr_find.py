"""A learning rate to begin with: a range test that holds the rates it tests.

The classical range test raises the learning rate during one short run and reads a number off the
curve of losses (Smith 2015, arXiv:1506.01186, section 3.3). Its curve lags: the loss at a rate is
mostly the work of the rates before it, so that "the steepest point" moves down with every step
that the sweep gets. Here the sweep only says where to look. There, short trainings hold one rate
each, from the same initial weights and over the same batches for every rate, and the suggestion is
read off their progress. ``docs/lr_find.md`` has the measurements.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from adamantine.errors import AdamantineError, DivergedError, UsageError, WorkloadError
from adamantine.optim.by_name import build, settings_of
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
from adamantine.study.settings.calls import call
from adamantine.train.callbacks import Caller
from adamantine.train.config import device_of
from adamantine.train.diagnosis import failure
from adamantine.train.loop import train_epoch
from adamantine.train.machine import machine, versions
from adamantine.train.seeds import check_seed, data_order, rng_state, seed_everything, set_rng_state
from adamantine.train.tables import up_to_date
from adamantine.workloads.data.batches import batches, in_memory
from adamantine.workloads.protocol import Batch, Workload

BuildOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
OnStep = Callable[[str, int, int], None]
"""Told what is being run, how many of its steps are taken, and how many it has."""

PER_DECADE = 2
"""Rates that are held are 10 to the power of a whole number of halves."""


def find_learning_rate(
    workload: Workload,
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
        Its training data and loss are used; the test set is not read.
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
    runs = _Runs(workload, _builder(optimizer, settings), model, batch_size, device, on_step)
    which = range(seed, seed + seeds)
    with _generators_kept(workload):
        rates = np.geomspace(low, high, 2 * steps).tolist()
        swept = np.array([runs.run("sweep", s, rates) for s in which])
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


class _Runs:
    """Short runs from the same beginning: what differs is the seed and the rates."""

    def __init__(
        self,
        workload: Workload,
        build_optimizer: BuildOptimizer,
        model: nn.Module | None,
        batch_size: int,
        device: torch.device | str,
        on_step: OnStep | None,
    ) -> None:
        self.workload, self.build_optimizer, self.model = workload, build_optimizer, model
        self.batch_size, self.on_step = batch_size, on_step
        self.device = torch.device(device) if model is None else device_of(model)
        self.optimizer_name = ""
        self.taken = 0

    def run(self, what: str, seed: int, rates: Sequence[float]) -> list[float]:
        """The loss of each step's batch, before the step; NaN from where it is not finite.

        Raises
        ------
        AdamantineError
            A step failed, and not because the run had diverged.
        """
        seed_everything(seed)
        model = self._fresh_model()
        optimizer = self.build_optimizer(model.parameters())
        self.optimizer_name = type(optimizer).__name__
        schedule = LambdaLR(optimizer, _factors(optimizer, rates))
        seen: list[Tensor] = []

        def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
            loss = self.workload.loss(outputs, targets)
            seen.append(loss.detach())
            return loss

        before, caller = self.taken, Caller()

        def on_step(step: int) -> None:
            self.taken += 1
            if self.on_step:
                caller(self.on_step, f"{what}, seed {seed}", step, len(rates))

        try:
            with up_to_date(model, optimizer):
                train_epoch(
                    model,
                    loss_of,
                    optimizer,
                    islice(self._stream(seed), len(rates)),
                    epoch=1,
                    device=self.device,
                    on_step=on_step,
                    scheduler=schedule,
                )
        except DivergedError:
            pass  # which is what is being looked for
        except Exception as error:
            if isinstance(error, AdamantineError) or error is caller.error:
                raise
            step = self.taken - before
            lr = float(optimizer.param_groups[0]["lr"])
            run = f"{self.optimizer_name} with lr={lr:.3g} and seed {seed}, after {step} steps,"
            raise failure(error, run) from error
        return _cut([float(loss) for loss in seen], len(rates))

    def _fresh_model(self) -> nn.Module:
        if self.model is None:
            return self.workload.model().to(self.device)
        try:
            return deepcopy(self.model)
        except RuntimeError as error:
            raise UsageError(
                f"the model cannot be copied ({error}), and it shall not be changed: "
                "leave it out, and fresh ones are built"
            ) from error

    def _stream(self, seed: int) -> Iterator[Batch]:
        """Batches without end, epoch after epoch."""
        order = data_order(seed)
        if generator := _own_generator(self.workload):
            generator.manual_seed(seed)
        while True:
            for inputs, targets in batches(self.workload.train, self.batch_size, order):
                yield inputs.to(self.device), targets.to(self.device)


def _hold(
    runs: _Runs, which: Iterable[int], steps: int, ends: tuple[float, float], start: float
) -> dict[int, Numbers]:
    """Losses of shape (seeds, steps) by the grid's numbers, from `start` as far as is needed."""
    first = math.ceil(PER_DECADE * math.log10(ends[0]) - 1e-9)
    last = math.floor(PER_DECADE * math.log10(ends[1]) + 1e-9)
    held: dict[int, Numbers] = {}
    curve: dict[int, float] = {}
    point = min(max(round(PER_DECADE * math.log10(start)), first), last)
    while True:
        rate = 10.0 ** (point / PER_DECADE)
        losses = np.array([runs.run(f"lr {rate:.2g}", s, [rate] * steps) for s in which])
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


def _factors(optimizer: Optimizer, rates: Sequence[float]) -> Callable[[int], float]:
    """What each step multiplies the optimizer's own learning rates by."""
    own = optimizer.param_groups[0].get("lr")
    if own is None or not float(own) > 0:
        raise UsageError(
            f"the optimizer's first learning rate is {own}, expected a number above 0: "
            "the rates to try are set in proportion to it"
        )
    # The scheduler asks once more than there are steps.
    return lambda step: rates[min(step, len(rates) - 1)] / float(own)


def _builder(optimizer: str | BuildOptimizer, settings: Mapping[str, Any] | None) -> BuildOptimizer:
    if not isinstance(optimizer, str):
        if settings:
            raise UsageError("settings are for an optimizer given by its name; a function has its")
        return optimizer
    if settings and "lr" in settings:
        raise UsageError("the learning rate is what is looked for; leave lr out of the settings")
    settings_of(optimizer)  # raises where there is none of that name
    name, given = optimizer, {**(settings or {}), "lr": 1.0}
    return lambda parameters: build(name, parameters, given)


def _cut(losses: list[float], steps: int) -> list[float]:
    """NaN from the first loss on that is not finite."""
    good = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return losses[:good] + [math.nan] * (steps - good)


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
    state, own = rng_state(), _own_generator(workload)
    own_state = own.get_state() if own else None
    try:
        yield
    finally:
        set_rng_state(state)
        if own is not None and own_state is not None:
            own.set_state(own_state)


def _own_generator(workload: Workload) -> torch.Generator | None:
    generator = getattr(workload.train, "generator", None)
    return generator if isinstance(generator, torch.Generator) else None
