"""Weights that Adam has trained, and digits that lie."""

from pathlib import Path

import pytest
import torch
from torch import nn

from adamantine.workloads import load
from adamantine.workloads.mnist import finetune
from adamantine.workloads.mnist.workloads import convolutional, load_mnist
from adamantine.workloads.protocol import Batch


def test_images_are_turned_to_the_left_and_labels_stay() -> None:
    images = torch.arange(2 * 28 * 28).float().view(2, 1, 28, 28)
    labels = torch.tensor([3, 7])
    found, same = finetune.turned((images, labels))
    assert same is labels
    rows, columns = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    assert torch.equal(found[:, 0], images[:, 0][:, columns, 27 - rows])


def test_the_upright_network_is_adams_and_always_the_same() -> None:
    """One batch: Adam's first step has the length of the learning rate in each direction."""
    random = torch.Generator().manual_seed(2)
    batch = torch.rand(64, 1, 28, 28, generator=random), torch.arange(64) % 10
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(finetune.SEED)
        start = convolutional()
    nn.functional.cross_entropy(start(batch[0]), batch[1]).backward()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found, again = finetune.pretrained(batch), finetune.pretrained(batch)
    assert torch.equal(torch.get_rng_state(), before)
    for old, new, same in zip(
        start.parameters(), found.parameters(), again.parameters(), strict=True
    ):
        assert torch.equal(new, same)
        clear = old.grad.abs() > 1e-4  # beside which ε is nothing
        assert clear.any()
        expected = -finetune.LEARNING_RATE * old.grad.sign()
        torch.testing.assert_close((new - old)[clear], expected[clear], rtol=1e-3, atol=1e-7)


def test_the_last_layer_is_new_and_the_others_are_trained(
    mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[nn.Sequential] = []

    def short(data: Batch) -> nn.Sequential:
        trained.append(finetune_pretrained((data[0][:256], data[1][:256])))
        return trained[-1]

    finetune_pretrained = finetune.pretrained
    monkeypatch.setattr(finetune, "pretrained", short)
    workload = load("mnist-finetune", mnist_folder)
    train, test = load_mnist(mnist_folder)
    assert len(workload.train[0]) == 6_000
    assert torch.equal(workload.train[0], torch.rot90(train[0][:6_000], dims=(2, 3)))
    assert torch.equal(workload.train[1], train[1][:6_000])
    assert torch.equal(workload.test[0], torch.rot90(test[0], dims=(2, 3)))
    assert torch.equal(workload.test[1], test[1])
    torch.manual_seed(1)
    first, second = workload.model(), workload.model()
    assert len(trained) == 1
    for a, b in zip(first[:-1].parameters(), trained[0][:-1].parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()
    assert not torch.equal(first[-1].weight, second[-1].weight)
    assert not torch.equal(first[-1].weight, trained[0][-1].weight)
