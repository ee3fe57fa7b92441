"""The workload `digits`: 1,797 handwritten digits of 8×8 pixels that scikit-learn ships."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adamantine.workloads.protocol import Workload

DESCRIPTION = "1,797 handwritten digits of 8×8 pixels, 64-128-10 with ReLU"
TEST_EXAMPLES = 360
SPLIT_SEED = 0


def digits() -> Workload:
    """The UCI digits (Alpaydin and Kaynak, 1998), 1,437 for training and 360 for testing.

    The split is stratified by class and always the same. Inputs are float32 of shape
    ``(N, 64)`` in [0, 1], targets int64.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    inputs, targets = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        inputs, targets, test_size=TEST_EXAMPLES, stratify=targets, random_state=SPLIT_SEED
    )
    return Workload(
        "digits",
        perceptron,
        train=(_to_pixels(train_x), torch.tensor(train_y).long()),
        test=(_to_pixels(test_x), torch.tensor(test_y).long()),
        loss=nn.functional.cross_entropy,
        description=DESCRIPTION,
    )


def _to_pixels(inputs: NDArray[np.float64]) -> Tensor:
    """Grey values 0..16 to [0, 1]."""
    return torch.tensor(inputs / 16, dtype=torch.float32)


def perceptron() -> nn.Module:
    """9,610 parameters."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
