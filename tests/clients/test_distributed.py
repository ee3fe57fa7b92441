"""Two processes over gloo: DistributedDataParallel, and states divided by ZeRO."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from clients.programs import PAGE, assert_same_losses, blocks, with_import_from
from clients.ranks import rank

pytestmark = pytest.mark.slow

WRAPPED = "ZeroRedundancyOptimizer(model.parameters(), optimizer_class=AdamW, lr=1e-2)"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    _, code = blocks()["DistributedDataParallel"]
    ours = with_import_from("adamantine", code)
    plain = "AdamW(model.parameters(), lr=1e-2)"
    assert plain in code
    assert f"`{WRAPPED}`" in PAGE.read_text(encoding="utf-8")
    zero = "from torch.distributed.optim import ZeroRedundancyOptimizer\n"
    programs = {
        "ours": ours,
        "torch": with_import_from("torch.optim", code),
        "zero": zero + ours.replace(plain, WRAPPED),
    }
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank, (programs, free_ports(3), folder), nprocs=2)
    return {
        name: [torch.load(folder / f"{name}-{number}.pt", weights_only=True) for number in (0, 1)]
        for name in programs
    }


def single_process() -> tuple[list[float], list[torch.Tensor]]:
    """The same training on the whole batches, with torch's optimizer."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for inputs in torch.randn(50, 16, 8):
        loss = (model(inputs) - inputs.mean(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("name", ["ours", "zero"])
def test_ranks_agree_with_each_other_and_with_one_process(outcomes, name: str) -> None:
    first, second = outcomes[name]
    assert first["class"] == second["class"] == "adamantine.optim.classes.adam"
    assert all(map(torch.equal, first["params"], second["params"]))
    losses, params = single_process()
    torch.testing.assert_close(first["params"], params, rtol=1e-4, atol=1e-5)
    # Each rank sees the loss of its half of the batch.
    halves = zip(first["losses"], second["losses"], strict=True)
    assert_same_losses([(a + b) / 2 for a, b in halves], losses)


@pytest.mark.parametrize("number", [0, 1])
def test_losses_are_torchs(outcomes, number: int) -> None:
    assert_same_losses(*(outcomes[name][number]["losses"] for name in ("ours", "torch")))


def test_zero_divides_the_states(outcomes) -> None:
    held = [outcome["states"] for outcome in outcomes["zero"]]
    assert sum(held) == outcomes["ours"][0]["states"] == 4
    assert all(held)
