"""A second piece of main memory in the place of an accelerator, and trainings to compare.

Copies are done as late as they may be, so that whatever is read before it was waited for is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn


class Late:
    """A link whose copies are done when they are waited for; garbage is there until then."""

    def __init__(self) -> None:
        self.begun: list[tuple[Tensor, Tensor]] = []
        self.sent: list[Callable[[], None]] = []
        self.fetched = 0

    def host_like(self, tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, 123.0, requires_grad=False)

    def _later(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        mine = list(zip(sources, targets, strict=True))
        self.begun += mine

        def wait() -> None:
            # In the order in which they were begun, as a stream does.
            while any(pair is own for pair in self.begun for own in mine):
                source, target = self.begun.pop(0)
                target.copy_(source)

        return wait

    def fetch(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        for target in targets:
            target.fill_(321.0)
        self.fetched += len(sources)
        # What is there now: the caller may free it.
        return self._later([source.clone() for source in sources], targets)

    def send(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        wait = self._later(sources, targets)
        self.sent.append(wait)
        return wait

    def finish(self) -> None:
        for wait in self.sent:
            wait()
        self.sent.clear()


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 3)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(16, 8, generator=random)
        net(inputs).square().mean().backward()
        optimizer.step()


def states(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for entry in optimizer.state_dict()["state"].values():
        yield from (value for value in entry.values() if isinstance(value, Tensor))


def assert_same(
    nets: tuple[nn.Module, nn.Module], both: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
) -> None:
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for one, other in zip(states(both[0]), states(both[1]), strict=True):
        assert torch.equal(one, other)
