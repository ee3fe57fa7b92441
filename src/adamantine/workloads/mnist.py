"""The workloads `mnist` and `mnist-cnn`: 70,000 handwritten digits, 28×28 pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adamantine.errors import DataError
from adamantine.workloads.download import MIRRORS, Progress, fetch_mnist
from adamantine.workloads.idx import parse_idx, read_content
from adamantine.workloads.mnist_files import (
    FILES,
    MnistFile,
    MnistFolder,
    cache_folder,
    check_content,
    find_mnist,
    look_into,
)
from adamantine.workloads.protocol import Batch, Workload

CLASSES = 10
SIDE = 28

PERCEPTRON = "MNIST, 784-128-10 with ReLU: the tutorial's network"
CONVOLUTIONAL = "MNIST, a small LeNet: two convolutions, two linear layers"


def mnist(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """MNIST with the beginner tutorial's network: 784-128-10 with ReLU."""
    train, test = load_mnist(data_dir, progress)
    return Workload(
        "mnist", perceptron, train, test, nn.functional.cross_entropy, description=PERCEPTRON
    )


def mnist_cnn(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """MNIST with a small convolutional network, about 99 % after five epochs of Adam."""
    train, test = load_mnist(data_dir, progress)
    return Workload(
        "mnist-cnn",
        convolutional,
        train,
        test,
        nn.functional.cross_entropy,
        description=CONVOLUTIONAL,
    )


def perceptron() -> nn.Module:
    """101,770 parameters."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(SIDE * SIDE, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


def convolutional() -> nn.Module:
    """LeNet-5's plan (LeCun et al., 1998) with ReLU and maximum pooling; 20,522 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=5),
        # Pooled before ReLU: the same numbers, a quarter of the work.
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(8, 16, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


def load_mnist(
    data_dir: Path | None = None,
    progress: Progress = False,
    *,
    files: Sequence[MnistFile] = FILES,
    mirrors: Sequence[str] = MIRRORS,
) -> tuple[Batch, Batch]:
    """MNIST's training and test set, downloaded into the user cache where it is nowhere.

    Every content is checked against its published SHA-256 (about 30 ms in all), so that
    what is called MNIST is MNIST.

    Returns
    -------
    train, test
        Each ``(images, labels)``: float32 of shape ``(N, 1, 28, 28)`` in [0, 1], and int64.

    Raises
    ------
    DataError
        If a file is missing, damaged or another than its name says, or cannot be downloaded.
    """
    found = find_mnist(data_dir, files)
    if found is None:
        fetch_mnist(progress=progress, files=files, mirrors=mirrors)
        found = look_into(cache_folder(), files)
    try:
        return _read_set(found, *files[:2]), _read_set(found, *files[2:])
    except DataError as error:
        raise DataError(f"{error}; {found.remedy}") from error


def _read_set(found: MnistFolder, image_file: MnistFile, label_file: MnistFile) -> Batch:
    image_path, label_path = found.paths[image_file.name], found.paths[label_file.name]
    image_content, label_content = read_content(image_path), read_content(label_path)
    images = parse_idx(image_content, image_path, ndim=3)
    labels = parse_idx(label_content, label_path, ndim=1)
    # What is wrong in words first; the digests catch the rest.
    _check_pair(images, labels, image_path, label_path)
    check_content(image_file, image_content, image_path)
    check_content(label_file, label_content, label_path)
    return _to_pixels(images), torch.tensor(labels).long()


def _check_pair(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], image_path: Path, label_path: Path
) -> None:
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{image_path}: holds images of {images.shape[1]}×{images.shape[2]} pixels,"
            f" expected {SIDE}×{SIDE}"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{label_path}: holds {len(labels):,} labels for the {len(images):,} images of"
            f" {image_path.name}, expected one each"
        )
    if labels.size and labels.max() >= CLASSES:
        raise DataError(
            f"{label_path}: label {int(labels.argmax())} is {labels.max()}, expected 0 to 9"
        )


def _to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Grey values 0..255 to [0, 1], with the channel a convolution wants."""
    return torch.tensor(images).unsqueeze(1).float().div_(255)
