"""What ``adamantine train`` writes, read for comparisons."""

import json

import torch

TWO_LINES = r"Epoch (\d+), Average Loss: \d+\.\d{4}\nTest Accuracy: \d+\.\d{2}%\n"


def without_times(text):
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith("_seconds")}
        for line in text.splitlines()
    ]


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]
