"""Workloads that train in milliseconds, for tests of studies; also loaded by other processes."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamantine.workloads import ACCURACY, Workload

FEATURES, CLASSES = 6, 3


def examples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    weights = torch.randn(FEATURES, CLASSES, generator=torch.Generator().manual_seed(9))
    noise = 0.5 * torch.randn(count, CLASSES, generator=generator)
    return inputs, (inputs @ weights + noise).argmax(dim=1)


def cheap(**changes):
    fields = {
        "name": "cheap",
        "model": lambda: nn.Linear(FEATURES, CLASSES),
        "train": examples(200, 1),
        "test": examples(100, 2),
        "loss": nn.functional.cross_entropy,
        "metric": ACCURACY,
    }
    return Workload(**(fields | changes))


workload = cheap()


class Deadly(nn.Linear):
    """Kills its process in the first runs, until there are files enough that say so."""

    def forward(self, inputs):
        marks = Path(os.environ["ADAMANTINE_TEST_MARKS"])
        number = len(list(marks.iterdir()))
        if number < int(os.environ["ADAMANTINE_TEST_KILLS"]) and self.training:
            (marks / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


deadly = cheap(name="deadly", model=lambda: Deadly(FEATURES, CLASSES))


class Fatal(nn.Linear):
    """Kills its process, whenever it is to be trained."""

    def forward(self, inputs):
        if self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


fatal = cheap(name="fatal", model=lambda: Fatal(FEATURES, CLASSES))


def _broken():
    raise ValueError("no such layer")


broken = cheap(name="broken", model=_broken)


class Wrong(nn.Linear):
    """Raises in the middle of training, out of torch's own code."""

    def forward(self, inputs):
        return super().forward(inputs[:, :-1] if self.training else inputs)


class Torn(nn.Linear):
    """Raises what a truncated file does."""

    def forward(self, inputs):
        if self.training:
            raise EOFError("the file ends")
        return super().forward(inputs)


wrong = cheap(name="wrong", model=lambda: Wrong(FEATURES, CLASSES))
torn = cheap(name="torn", model=lambda: Torn(FEATURES, CLASSES))


def _strict_loss(outputs, targets):
    """Refuses what is not finite, as binary cross-entropy does."""
    if not torch.isfinite(outputs).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    return nn.functional.cross_entropy(outputs, targets)


strict = cheap(name="strict", loss=_strict_loss)
loaded = cheap(
    name="loaded",
    train=DataLoader(TensorDataset(*examples(200, 1)), batch_size=50, shuffle=True, num_workers=1),
    validation=examples(50, 3),
)
own_order = cheap(
    name="own_order",
    train=DataLoader(
        TensorDataset(*examples(200, 1)),
        batch_size=50,
        shuffle=True,
        generator=torch.Generator().manual_seed(1),
    ),
    validation=examples(50, 3),
)


class Slow(nn.Linear):
    """Takes a while, so that there is a time to kill a comparison."""

    def forward(self, inputs):
        time.sleep(0.002)
        return super().forward(inputs)


slow = cheap(name="slow", model=lambda: Slow(FEATURES, CLASSES))


class Shaken(torch.optim.Adam):
    """Adam that begins with weights shaken a little: another draw of the same distribution."""

    salt = 1

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr=lr)
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**40 * 7919 + self.salt)
        for group in self.param_groups:
            for param in group["params"]:
                param.data += 0.3 * torch.randn(param.shape, generator=generator)


class ShakenOtherwise(Shaken):
    salt = 2


class Picky(torch.optim.SGD):
    """Fails in its third step if its learning rate is not to its liking."""

    limit = 0.05

    def step(self, closure=None):
        super().step(closure)
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken == 3 and self.param_groups[0]["lr"] > self.limit:
            raise ValueError("I do not like it")
