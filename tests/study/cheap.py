"""Workloads that train in milliseconds, for tests of studies; also loaded by other processes."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

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
    """Kills its process in a third of the runs, until a file says that it has."""

    def forward(self, inputs):
        marks = Path(os.environ["ADAMANTINE_TEST_MARKS"])
        number = len(list(marks.iterdir()))
        if number < 3 and self.training:
            (marks / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


deadly = cheap(name="deadly", model=lambda: Deadly(FEATURES, CLASSES))


class Fatal(nn.Linear):
    """Kills its process, always."""

    def forward(self, inputs):
        os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


fatal = cheap(name="fatal", model=lambda: Fatal(FEATURES, CLASSES))


def _broken():
    raise ValueError("no such layer")


broken = cheap(name="broken", model=_broken)


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
