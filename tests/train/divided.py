"""Workloads whose batches cannot be divided evenly, in float64 so that rounding is far away."""

import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamantine.workloads import ACCURACY, Workload


def examples(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return inputs, (inputs @ torch.randn(5, 3, generator=generator).double()).argmax(dim=1)


class Block(nn.Module):
    """So that FSDP has something to put together one at a time; odd sizes divide unevenly."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 7), nn.Tanh())

    def forward(self, x):
        return x + self.layers(x)


def model(*last):
    blocks = nn.Sequential(Block(), Block())
    return nn.Sequential(nn.Linear(5, 7), blocks, *last, nn.Linear(7, 3)).double()


def workload(name, count=70, **changes):
    fields = {
        "name": name,
        "model": model,
        "train": examples(count),
        "test": examples(23, seed=2),
        "loss": nn.functional.cross_entropy,
        "metric": ACCURACY,
    }
    return Workload(**(fields | changes))


def breaks_on_one(outputs, targets):
    """In the second process's second epoch."""
    breaks_on_one.calls += 1
    if os.environ.get("RANK") == "1" and breaks_on_one.calls > 7:
        raise RuntimeError("this loss fails on rank 1")
    return nn.functional.cross_entropy(outputs, targets)


breaks_on_one.calls = 0


class Idle(nn.Module):
    """Uses one of its layers in every other step, and another one never."""

    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.never = (nn.Linear(5, 3).double() for _ in range(3))
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return self.always(x) + (self.sometimes(x) if self.steps % 2 else 0)


# In batches of 16: 70 = 4 · 16 + 6, and 66 = 4 · 16 + 2, too few for three.
uneven = workload("uneven")
idle = workload("idle", model=Idle)
few = workload("few", 66)
breaking = workload("breaking", loss=breaks_on_one)
batch_norm = workload("batch_norm", model=lambda: model(nn.BatchNorm1d(7)))
drawing = workload(
    "drawing",
    model=lambda: model(nn.Dropout(0.3)),
    train=DataLoader(TensorDataset(*examples(70)), batch_size=16, shuffle=True),
)
