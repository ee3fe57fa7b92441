"""The beginner's MNIST program as tutorials write it: what `adamantine train` is timed against.

A Dataset that turns one image after the other into a tensor, as torchvision's `MNIST` with
`ToTensor` does (torchvision 0.28 takes a fifth longer per image), a DataLoader in its default
setting, `torch.optim.Adam`, and an evaluation after every epoch. It uses nothing of Adamantine.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset


def read_idx(folder: Path, name: str, header: int) -> NDArray[np.uint8]:
    packed = folder / f"{name}.gz"
    content = (
        gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    )
    return np.frombuffer(content, np.uint8, offset=header)


def to_tensor(image: Image.Image) -> Tensor:
    """torchvision.transforms.functional.to_tensor, for images of 8-bit grey values."""
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    pixels = pixels.view(image.size[1], image.size[0], 1)
    return pixels.permute((2, 0, 1)).contiguous().to(dtype=torch.float32).div(255)


class MNIST(Dataset[tuple[Tensor, int]]):
    """torchvision.datasets.MNIST(transform=ToTensor()), after its files are unpacked."""

    def __init__(self, folder: Path, prefix: str) -> None:
        images = read_idx(folder, f"{prefix}-images-idx3-ubyte", header=16)
        labels = read_idx(folder, f"{prefix}-labels-idx1-ubyte", header=8)
        self.data = torch.tensor(images).view(-1, 28, 28)
        self.targets = torch.tensor(labels).long()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, target = self.data[index], int(self.targets[index])
        return to_tensor(Image.fromarray(image.numpy())), target


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(28 * 28, 128)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(self.flatten(x))))  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train_set = MNIST(options.data_dir, "train")
    test_set = MNIST(options.data_dir, "t10k")
    train_loader = DataLoader(train_set, batch_size=options.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=1000, shuffle=False)

    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)

    for epoch in range(options.epochs):
        model.train()
        total_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        print(f"Epoch {epoch + 1}, Average Loss: {total_loss / len(train_loader):.4f}")

        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                predicted = model(images).argmax(1)
                correct += (predicted == labels).sum().item()
        print(f"Test Accuracy: {100 * correct / len(test_set):.2f}%")


if __name__ == "__main__":
    main()
