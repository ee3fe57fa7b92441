"""Whether training notices: MNIST's network with Adam whose moments lie on a grid."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from adamantine.workloads import Workload, batches
from benchmarks.grid_drift import BETA1, BETA2, EPS, Pair
from benchmarks.grids import key

BATCH_SIZE, LEARNING_RATE = 64, 1e-3


def accuracy(workload: Workload, pair: Pair | None, seed: int, epochs: int) -> float:
    """Per cent of the test set after so many epochs; None keeps both moments in float32.

    The same seed gives the same network and the same batches in the same order.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = workload.model()
    adam = GridAdam(list(model.parameters()), pair, seed)
    for _ in range(epochs):
        for inputs, targets in batches(workload.train, BATCH_SIZE, order):
            adam.step(workload.loss(model(inputs), targets))
    inputs, targets = workload.test
    with torch.no_grad():
        right = model(inputs).argmax(1) == targets
    return 100 * right.double().mean().item()


class GridAdam:
    """Adam in torch's float32 operations; each tensor's moments are blocks of their own."""

    def __init__(self, params: list[Tensor], pair: Pair | None, seed: int) -> None:
        self.params, self.pair, self.seed, self.time = params, pair, seed, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]

    def step(self, loss: Tensor) -> None:
        self.time += 1
        step_size = LEARNING_RATE / (1 - BETA1**self.time)
        correction = 1 / sqrt(1 - BETA2**self.time)
        grads = torch.autograd.grad(loss, self.params)
        for param, grad, (first, second) in zip(self.params, grads, self.moments, strict=True):
            first.lerp_(grad, 1 - BETA1)
            second.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
            denominator = second.sqrt().mul_(correction).add_(EPS)
            param.data.addcdiv_(first, denominator, value=-step_size)
        self._rewrite()

    def _rewrite(self) -> None:
        if self.pair is None:
            return
        for place, (first, second) in enumerate(self.moments):
            mixed = key(1000 * self.seed + place, self.time)
            self.pair.first.rewrite(first.view(-1).numpy(), mixed)
            self.pair.second.rewrite(second.view(-1).numpy(), mixed)
