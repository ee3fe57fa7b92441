"""The workloads `mnist` and `mnist-…`: 70,000 handwritten digits, 28×28 pixels."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adamantine.errors import DataError
from adamantine.workloads.idx import parse_idx, read_content
from adamantine.workloads.mnist.download import MIRRORS, Progress, fetch_mnist
from adamantine.workloads.mnist.files import (
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
LOGISTIC = "MNIST, 784-10: logistic regression, as in Adam's paper"
WIDE = "MNIST, 784-1000-1000-10 with ReLU, as in Adam's paper"
DROPOUT = "MNIST, 784-1000-1000-10 with ReLU and dropout, as in Adam's paper"


def mnist(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """MNIST with the beginner tutorial's network: 784-128-10 with ReLU."""
    return _workload("mnist", PERCEPTRON, perceptron, data_dir, progress)


def mnist_cnn(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """MNIST with a small convolutional network, about 99 % after five epochs of Adam."""
    return _workload("mnist-cnn", CONVOLUTIONAL, convolutional, data_dir, progress)


def mnist_logistic(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """Multinomial logistic regression of Kingma and Ba (2015), section 6.1 and Figure 1.

    A convex problem. The paper's runs have batches of 128 and a learning rate that falls with
    1/√t: ``--batch-size 128 --schedule inverse-sqrt``. It adds an L2 penalty of a size it does not
    tell; here that is the optimizer's `weight_decay`, and the loss has none. Nor does the paper
    tell how pixels are scaled (here to [0, 1]) and where the weights begin (here as ``nn.Linear``
    has it: uniformly in ±1/28). Its figure shows the training cost of 45 epochs.
    """
    return _workload("mnist-logistic", LOGISTIC, logistic, data_dir, progress)


def mnist_mlp(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """Network of Kingma and Ba (2015), section 6.2 and Figure 2: two layers of 1,000 ReLU units.

    The paper's runs have batches of 128. Here the cost is deterministic, as in Figure 2 (b), and
    without that one's weight decay, which is the optimizer's `weight_decay`. Pixels and first
    weights are not told there; here they are as for ``mnist-logistic``: [0, 1], and uniform in
    ±1/√(a layer's inputs).
    """
    return _workload("mnist-mlp", WIDE, wide, data_dir, progress)


def mnist_dropout(data_dir: Path | None = None, progress: Progress = False) -> Workload:
    """The network of ``mnist-mlp`` with dropout, as in Figure 2 (a) of Kingma and Ba (2015).

    That figure compares Adam with AdaGrad, RMSProp, SGD with Nesterov's momentum and AdaDelta over
    200 epochs, batches of 128. The paper does not tell the dropout's rate and place; here it is one
    half after each hidden layer, and none of the pixels.
    """
    return _workload("mnist-dropout", DROPOUT, dropping_out, data_dir, progress)


def _workload(
    name: str,
    description: str,
    model: Callable[[], nn.Module],
    data_dir: Path | None,
    progress: Progress,
) -> Workload:
    train, test = load_mnist(data_dir, progress)
    return Workload(name, model, train, test, nn.functional.cross_entropy, description=description)


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


def logistic() -> nn.Module:
    """7,850 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))


def wide() -> nn.Module:
    """1,796,010 parameters."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(SIDE * SIDE, 1_000),
        nn.ReLU(),
        nn.Linear(1_000, 1_000),
        nn.ReLU(),
        nn.Linear(1_000, CLASSES),
    )


def dropping_out() -> nn.Module:
    """As many parameters as :func:`wide`."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(SIDE * SIDE, 1_000),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1_000, 1_000),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1_000, CLASSES),
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
