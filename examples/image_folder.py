"""A model of someone else's and a folder of images, with a folder for each class.

    pip install 'adamantine[examples]'
    adamantine train --workload examples.image_folder:workload --epochs 3 --batch-size 16

`IMAGES` names the folder (`IMAGES/train/CLASS/*.png`, likewise `test`); without it, small images
of two kinds are drawn at random. The model is a ResNet of Hugging Face's, of which `Scores` takes
the scores. `torchvision.models.resnet18(num_classes=…)` and `timm.create_model("resnet18",
num_classes=…)` return them as they are and need no wrapper.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification

from adamantine.workloads import Workload

SIZE = 32
TEMPORARY = tempfile.TemporaryDirectory()


class Scores(nn.Module):
    """The scores of the classes alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=images).logits


def workload() -> Workload:
    folder = Path(os.environ.get("IMAGES") or draw_some())
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    config = ResNetConfig(num_labels=len(list((folder / "train").iterdir())), **sizes)
    return Workload(
        name="images",
        model=lambda: Scores(ResNetForImageClassification(config)),
        train=images_in(folder / "train"),
        test=images_in(folder / "test"),
        loss=nn.functional.cross_entropy,
    )


def images_in(folder: Path) -> tuple[Tensor, Tensor]:
    """All of them in memory, in [-1, 1]; a DataLoader is as good where they do not fit."""
    kinds = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [(path, label) for label, kind in enumerate(kinds) for path in sorted(kind.iterdir())]
    images = torch.stack([pixels_of(path) for path, _ in found])
    return images, torch.tensor([label for _, label in found])


def pixels_of(path: Path) -> Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)


def draw_some() -> Path:
    """Stripes along and stripes across, with noise; the folder is gone with this process."""
    folder, dice = Path(TEMPORARY.name), np.random.default_rng(0)
    for part, count in (("train", 48), ("test", 24)):
        for kind in ("along", "across"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                stripes = 128 + 80 * np.sin(np.arange(SIZE) * dice.uniform(0.5, 1.5))
                grey = np.broadcast_to(stripes, (SIZE, SIZE)) + dice.normal(0, 40, (SIZE, SIZE))
                pixels = np.clip(grey if kind == "across" else grey.T, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / kind / f"{number}.png")
    return folder
