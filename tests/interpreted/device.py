"""Where the tensors of these tests lie: on a GPU, if Triton compiles, else in main memory."""

import os
from functools import partial

import torch

import contract

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")

parameters = partial(contract.parameters, device=DEVICE)
