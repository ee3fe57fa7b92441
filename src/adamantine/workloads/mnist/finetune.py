"""The workload `mnist-finetune`: weights that Adam has trained, and a new task for them."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import torch
from torch import nn

from adamantine.workloads.data.batches import batches
from adamantine.workloads.mnist.download import Progress
from adamantine.workloads.mnist.workloads import convolutional, load_mnist
from adamantine.workloads.protocol import Batch, Workload

DESCRIPTION = "MNIST turned by 90°, 6,000 images, and a LeNet that Adam has trained upright"
IMAGES = 6_000
BATCH_SIZE, LEARNING_RATE, SEED = 64, 1e-3, 0


def mnist_finetune(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """Fine-tuning: the network of ``mnist-cnn`` after an epoch of Adam, on digits that lie.

    Its layers begin as ``torch.optim.Adam`` leaves them after one epoch of the 60,000 upright
    images (batches of 64, learning rate 0.001, always from the same seed), but for the last one,
    which is new. It is trained on the first 6,000 training images and judged by the 10,000 test
    images, all turned by 90°. Each process trains the upright network once, in about 5 s.
    """
    upright, test = load_mnist(data_dir, progress)
    train = upright[0][:IMAGES], upright[1][:IMAGES]
    return Workload(
        "mnist-finetune",
        _with_a_new_head(cache(lambda: pretrained(upright))),
        turned(train),
        turned(test),
        nn.functional.cross_entropy,
        description=DESCRIPTION,
    )


def turned(data: Batch) -> Batch:
    """The same images, turned by 90° to the left: no pixel is interpolated."""
    images, labels = data
    return torch.rot90(images, dims=(2, 3)).contiguous(), labels


def pretrained(data: Batch) -> nn.Module:
    """The convolutional network after an epoch of Adam; other random numbers stay as they are."""
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        torch.manual_seed(SEED)
        model = convolutional()
        optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
        order = torch.Generator().manual_seed(SEED)
        for images, labels in batches(data, BATCH_SIZE, order):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


def _with_a_new_head(body: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        *layers, _ = deepcopy(body()).children()
        *_, head = convolutional().children()
        return nn.Sequential(*layers, head)

    return model
