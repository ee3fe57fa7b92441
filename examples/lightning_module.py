"""A Lightning module with its data module: which quarter of the plane is a point in?

    pip install 'adamantine[examples]'
    adamantine train --workload examples.lightning_module:workload --epochs 5

What is used of the module is its `forward` and its loss; steps, optimizers and the loop are
Adamantine's. The data module's loaders bring their own batch size.
"""

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from adamantine.workloads import Workload


def workload() -> Workload:
    data = Points()
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return Workload(
        name="quarters",
        model=Net,
        train=data.train_dataloader(),
        validation=data.val_dataloader(),
        test=data.test_dataloader(),
        loss=Net.loss,
    )


class Net(lightning.LightningModule):
    """As Lightning trains it; nothing in it knows of Adamantine."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002
        inputs, targets = batch
        return self.loss(self(inputs), targets)


class Points(lightning.LightningDataModule):
    """Points of a normal distribution."""

    def setup(self, stage: str) -> None:  # noqa: ARG002
        points = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
        quarters = (points > 0).long() @ torch.tensor([1, 2])
        cuts = {"train": slice(400), "validation": slice(400, 500), "test": slice(500, 600)}
        self.parts = {name: TensorDataset(points[c], quarters[c]) for name, c in cuts.items()}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["train"], batch_size=32, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["validation"], batch_size=100)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["test"], batch_size=100)
