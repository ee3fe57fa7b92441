import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from adamantine.errors import DataError
from adamantine.workloads import ACCURACY, load
from adamantine.workloads.mnist.workloads import (
    convolutional,
    dropping_out,
    load_mnist,
    logistic,
    perceptron,
    wide,
)
from workloads.fake_mnist import NAMES, TEST, TRAIN, FakeMnist, idx_bytes


@pytest.mark.parametrize("gz", [False, True])
def test_pixels_and_labels_are_those_of_the_files(
    tmp_path: Path, fake: FakeMnist, gz: bool
) -> None:
    fake.write(tmp_path, gz=gz)
    (images, labels), (test_images, test_labels) = load_mnist(tmp_path, files=fake.files)
    assert images.dtype == test_images.dtype == torch.float32
    assert labels.dtype == test_labels.dtype == torch.int64
    assert images.shape == (TRAIN, 1, 28, 28)
    # Correctly rounded division by 255, as torchvision's ToTensor does it.
    expected = fake.arrays[NAMES[0]].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(images.squeeze(1).numpy(), expected)
    np.testing.assert_array_equal(labels.numpy(), fake.arrays[NAMES[1]])
    np.testing.assert_array_equal(test_labels.numpy(), fake.arrays[NAMES[3]])
    assert test_images.shape == (TEST, 1, 28, 28)


def labels_with_one_that_is_10() -> np.ndarray:
    labels = np.arange(TRAIN) % 10
    labels[7] = 10
    return labels


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (NAMES[0], idx_bytes(np.zeros((TRAIN, 8, 8))), "images of 8×8 pixels, expected 28×28"),
        (NAMES[0], idx_bytes(np.zeros((TRAIN, 28))), "starts with 00 00 08 02, expected 00 00 08"),
        (NAMES[0], idx_bytes(np.zeros((TRAIN, 28, 28))), "is not MNIST's train-images-idx3-ubyte"),
        (NAMES[1], idx_bytes(np.zeros(TRAIN - 1)), "holds 11 labels for the 12 images of"),
        (NAMES[1], idx_bytes(labels_with_one_that_is_10()), "label 7 is 10, expected 0 to 9"),
        (NAMES[3], idx_bytes(np.zeros(TEST)), "is not MNIST's t10k-labels-idx1-ubyte: SHA-256"),
        (NAMES[3], b"", "starts with nothing"),
        (NAMES[2], gzip.compress(b"x" * 99, mtime=0)[:-5], "gzip stream is damaged or cut short"),
    ],
    ids=["8x8", "two-dimensional", "digest", "count", "label", "label-digest", "empty", "gzip"],
)
def test_a_wrong_file_is_named_with_what_helps(
    tmp_path: Path, fake: FakeMnist, name: str, content: bytes, expected: str
) -> None:
    fake.write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path, files=fake.files)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}: ")
    assert expected in message
    assert f"`adamantine data mnist --data-dir {tmp_path}`" in message
    assert "\n" not in message


def test_training_files_in_place_of_test_files_are_noticed(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path)
    (tmp_path / NAMES[2]).write_bytes(fake.contents[NAMES[0]])
    (tmp_path / NAMES[3]).write_bytes(fake.contents[NAMES[1]])
    with pytest.raises(DataError, match="is not MNIST's t10k-images-idx3-ubyte"):
        load_mnist(tmp_path, files=fake.files)


def test_the_real_data_are_the_published_ones(mnist_folder: Path) -> None:
    (images, labels), (test_images, test_labels) = load_mnist(mnist_folder)
    assert images.shape == (60_000, 1, 28, 28)
    assert test_images.shape == (10_000, 1, 28, 28)
    for pixels in (images, test_images):
        assert (pixels.min(), pixels.max()) == (0, 1)
    # The mean and deviation that every tutorial's Normalize((0.1307,), (0.3081,)) quotes.
    deviation, mean = torch.std_mean(images)
    assert (round(mean.item(), 4), round(deviation.item(), 4)) == (0.1307, 0.3081)
    assert labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert test_labels.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]


@pytest.mark.parametrize(
    ("name", "parameters", "model"),
    [
        ("mnist", 784 * 128 + 128 + 128 * 10 + 10, perceptron),
        ("mnist-cnn", 20_522, convolutional),
        ("mnist-logistic", 784 * 10 + 10, logistic),
        ("mnist-mlp", 785 * 1_000 + 1_001 * 1_000 + 1_001 * 10, wide),
        ("mnist-dropout", 785 * 1_000 + 1_001 * 1_000 + 1_001 * 10, dropping_out),
    ],
)
def test_the_workloads_fit_their_networks(
    mnist_folder: Path, name: str, parameters: int, model: object
) -> None:
    workload = load(name, mnist_folder)
    assert workload.name == name
    assert workload.metric is ACCURACY
    assert workload.model is model
    network = workload.model()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    inputs, targets = workload.test
    outputs = network(inputs[:50])
    assert outputs.shape == (50, 10)
    # Ten classes, nothing learnt: about log(10).
    assert workload.loss(outputs, targets[:50]).item() == pytest.approx(np.log(10), abs=0.15)
    assert workload.metric.per_example(outputs, outputs.argmax(1)).tolist() == [1.0] * 50


def test_models_are_fresh_and_follow_the_seed() -> None:
    for model in (perceptron, convolutional, logistic, wide, dropping_out):
        torch.manual_seed(3)
        first, second = model(), model()
        torch.manual_seed(3)
        again = model()
        assert torch.equal(first[-1].weight, again[-1].weight)
        assert not torch.equal(first[-1].weight, second[-1].weight)


def test_networks_of_adams_paper_are_these_formulas() -> None:
    """Section 6.1: a softmax of one affine map of the pixels; 6.2: two layers of ReLU before it."""
    torch.manual_seed(0)
    images = torch.rand(3, 1, 28, 28).double()
    regression, network = logistic().double(), wide().double()
    expected = images.view(3, 784) @ regression[-1].weight.T + regression[-1].bias
    torch.testing.assert_close(regression(images), expected)
    expected, parameters = images.view(3, 784), list(network.parameters())
    for weight, bias in zip(parameters[:4:2], parameters[1:4:2], strict=True):
        expected = (expected @ weight.T + bias).clamp(min=0)
        assert expected.shape == (3, 1_000)
    torch.testing.assert_close(network(images), expected @ parameters[4].T + parameters[5])
