"""Short trainings from the same beginning, here or on a cluster."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from adamantine.errors import AdamantineError, DivergedError, UsageError
from adamantine.optim.by_name import build, settings_of
from adamantine.train.callbacks import Caller
from adamantine.train.config import device_of
from adamantine.train.diagnosis import failure
from adamantine.train.loop import train_epoch
from adamantine.train.seeds import data_order, seed_everything
from adamantine.train.tables import up_to_date
from adamantine.workloads.data.batches import batches
from adamantine.workloads.protocol import Batch, Workload

BuildOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
OnStep = Callable[[str, int, int], None]
"""Told what is being run, how many of its steps are taken, and how many it has."""


class Runs:
    """Short runs from the same beginning: what differs is the seed and the rates."""

    def __init__(
        self,
        workload: Workload,
        build_optimizer: Callable[[nn.Module], Optimizer],
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

    def run_all(self, what: str, seeds: Iterable[int], rates: Sequence[float]) -> list[list[float]]:
        """:meth:`run` for each seed."""
        return [self.run(what, seed, rates) for seed in seeds]

    def run(self, what: str, seed: int, rates: Sequence[float]) -> list[float]:
        """The loss of each step's batch, before the step; NaN from where it is not finite.

        Raises
        ------
        AdamantineError
            A step failed, and not because the run had diverged.
        """
        seed_everything(seed)
        model = self._fresh_model()
        optimizer = self.build_optimizer(model)
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

    def close(self) -> None:
        """Nothing is open."""

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
        if generator := own_generator(self.workload):
            generator.manual_seed(seed)
        while True:
            for inputs, targets in batches(self.workload.train, self.batch_size, order):
                yield inputs.to(self.device), targets.to(self.device)


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


def builder_of(
    optimizer: str | BuildOptimizer, settings: Mapping[str, Any] | None
) -> Callable[[nn.Module], Optimizer]:
    """From a model to what the function makes of its parameters, or to the optimizer of a name."""
    if not isinstance(optimizer, str):
        if settings:
            raise UsageError("settings are for an optimizer given by its name; a function has its")
        return lambda model: optimizer(model.parameters())
    if settings and "lr" in settings:
        raise UsageError("the learning rate is what is looked for; leave lr out of the settings")
    settings_of(optimizer)  # raises where there is none of that name
    name, given = optimizer, {**(settings or {}), "lr": 1.0}
    return lambda model: build(name, model, given)


def _cut(losses: list[float], steps: int) -> list[float]:
    """NaN from the first loss on that is not finite."""
    good = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return losses[:good] + [math.nan] * (steps - good)


def own_generator(workload: Workload) -> torch.Generator | None:
    """That of a ``DataLoader`` which shuffles with one of its own."""
    generator = getattr(workload.train, "generator", None)
    return generator if isinstance(generator, torch.Generator) else None
