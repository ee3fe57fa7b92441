"""Your own workload: how far diabetes progresses within a year, from ten measurements.

    adamantine train --workload examples.my_workload:workload --epochs 30 --batch-size 32

442 patients (Efron, Hastie, Johnstone and Tibshirani, *Least angle regression*, 2004;
scikit-learn ships the table). Inputs and target have mean 0 and variance 1 over all of
them, so a model that always answers the mean has an error of about 1.
"""

import torch
from torch import Tensor, nn

from adamantine.workloads import Metric, Workload

TEST_PATIENTS = 100


def workload() -> Workload:
    train, test = tables()
    return Workload(
        name="diabetes",
        model=model,
        train=train,
        test=test,
        loss=nn.functional.mse_loss,
        metric=Metric("mean squared error", squared_error, "min"),
        description="442 patients, ten measurements, one number to predict",
    )


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """One number a patient; their mean over the test set is what gets reported."""
    return (outputs - targets).square().mean(dim=1)


def tables() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test patients as ``(inputs, targets)``, of shapes (N, 10) and (N, 1)."""
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    x = standardised(torch.tensor(inputs, dtype=torch.float32))
    y = standardised(torch.tensor(targets, dtype=torch.float32).unsqueeze(1))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return (x[TEST_PATIENTS:], y[TEST_PATIENTS:]), (x[:TEST_PATIENTS], y[:TEST_PATIENTS])


def standardised(columns: Tensor) -> Tensor:
    return (columns - columns.mean(dim=0)) / columns.std(dim=0)
