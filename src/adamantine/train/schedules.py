"""Learning rate schedules by name; each is one of ``torch.optim.lr_scheduler``'s.

``--lr`` is always the highest rate of the run. With T epochs of n batches:

================= ====================================================================== =========
name              learning rate                                                          steps per
================= ====================================================================== =========
``none``          lr
``step``          lr, lr/10, lr/100: a tenth after every ceil(T/3) epochs                epoch
``cosine``        half a cosine from lr to 0 over the run                                batch
``one-cycle``     lr/25 up to lr in 30 % of the run, down to lr/250,000 (Smith and       batch
                  Topin 2018, as torch has it); momentum and betas stay as they are
``linear-warmup`` lr/w, 2 lr/w, …, lr over the first w batches, a tenth of the run;      batch
                  then lr
``inverse-sqrt``  lr/√t in step t, from lr in step 1 (Kingma and Ba 2015, section 6.1)   batch
================= ====================================================================== =========
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)

from adamantine.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """A scheduler bound to an optimizer, and after what it moves."""

    scheduler: LRScheduler
    per: Literal["batch", "epoch"]


def step(optimizer: Optimizer, total: int) -> LRScheduler:
    """A tenth of the learning rate after every third of `total`."""
    return StepLR(optimizer, math.ceil(total / 3), gamma=0.1)


def cosine(optimizer: Optimizer, total: int) -> LRScheduler:
    """Half a cosine, from the learning rate to 0."""
    return CosineAnnealingLR(optimizer, T_max=total)


def one_cycle(optimizer: Optimizer, total: int) -> LRScheduler:
    """Up to the learning rate and far down, in one cycle."""
    highest = [float(group["lr"]) for group in optimizer.param_groups]
    # torch would also cycle the momentum, which turns plain SGD into another algorithm. And it
    # refuses to move after the last step, which the loop does once more than there are batches.
    return OneCycleLR(optimizer, highest, total_steps=total + 1, cycle_momentum=False)


def linear_warmup(optimizer: Optimizer, total: int) -> LRScheduler:
    """A straight line up to the learning rate over the first tenth of `total`."""
    warmup = max(1, total // 10)
    return LinearLR(optimizer, 1 / warmup, total_iters=max(1, warmup - 1))


def inverse_sqrt(optimizer: Optimizer) -> LRScheduler:
    """The learning rate by the root of the step's number, from 1 on."""
    return LambdaLR(optimizer, lambda moves: (moves + 1) ** -0.5)


SCHEDULES: dict[str, tuple[Literal["batch", "epoch"], Callable[[Optimizer, int], LRScheduler]]] = {
    "step": ("epoch", step),
    "cosine": ("batch", cosine),
    "one-cycle": ("batch", one_cycle),
    "linear-warmup": ("batch", linear_warmup),
}
"""What each moves after, and what builds it for that many moves."""

ENDLESS: dict[str, Callable[[Optimizer], LRScheduler]] = {"inverse-sqrt": inverse_sqrt}
"""Those that move after each batch, however many there will be."""

NAMES = ("none", *SCHEDULES, *ENDLESS)


def check_schedule(name: str) -> None:
    """Raise :class:`UsageError` unless there is a schedule called `name`."""
    if name not in NAMES:
        raise UsageError(f"schedule is {name!r}, expected one of {', '.join(NAMES)}")


def build_schedule(
    name: str, optimizer: Optimizer, epochs: int, batches: int | None
) -> Schedule | None:
    """The schedule called `name` over `epochs` epochs of `batches` batches; None for ``none``.

    Raises
    ------
    UsageError
        There is no such schedule, or it needs to know how long an epoch is and `batches` is None
        (the training data has no ``len``).
    """
    check_schedule(name)
    if name == "none":
        return None
    if name in ENDLESS:
        return Schedule(ENDLESS[name](optimizer), "batch")
    per, build = SCHEDULES[name]
    if per == "epoch":
        return Schedule(build(optimizer, epochs), per)
    if batches is None:
        raise UsageError(
            f"schedule {name!r} needs the number of batches in an epoch, and the training data "
            "has no len(): give it one, or use --schedule none"
        )
    return Schedule(build(optimizer, epochs * batches), per)
